"""Which folders are packages: found, not listed. All else stands in `pyproject.toml`.

The scripts that train the embedded models stay in the checkout.
"""

from setuptools import find_packages, setup

TRAINING = ("training", "training.*")
FOLDERS = {"jaxattr": "jaxattr", "jaxattr.cli": "cli", "jaxattr.weights": "weights"}


def packages(name: str, folder: str) -> list[str]:
    """The package in a folder, and those below it."""
    return [name, *(f"{name}.{inner}" for inner in find_packages(folder, exclude=TRAINING))]


setup(
    packages=[one for name, folder in FOLDERS.items() for one in packages(name, folder)],
    package_dir=FOLDERS,
)
