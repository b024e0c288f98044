"""The pytest plugin under its earlier name, for `-p fnn.gradcheck.pytest_plugin`; see `fnn_pytest_plugin`."""

pytest_plugins = ("fnn_pytest_plugin",)
