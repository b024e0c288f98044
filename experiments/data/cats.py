"""The cat/non-cat images of the course notes: HDF5."""


def find_cats():
    return None
