"""The embedded models, and their manifest. How they were made is in `training`."""
