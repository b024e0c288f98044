"""Training: steps, epochs, `fit`, evaluation, and how a training stops and resumes."""
