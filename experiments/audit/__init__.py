"""An audit of the gradients of public functions: which calls, what is compared, and what is known of each finding."""
