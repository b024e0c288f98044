"""What training a network would take on a mesh of devices that is not here."""
