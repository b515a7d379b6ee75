"""Unpacks an image of a container into a root file system: what ``docker save``, ``podman save`` or ``skopeo`` wrote.

The image is verified and all its members are judged before anything of it is unpacked (`_bundle`). The program umoci
then puts the layers over each other, and what it made is gone through once more (`_sweep`). Only a tree that is
complete gets its final name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtara.disk import answer_refusals
from runtara.errors import AlreadyExists
from runtara.images._bundle import Bundle, lay_out
from runtara.images._commands import find_program, run_command
from runtara.images._documents import ContainerConfig, container_config
from runtara.images._limits import Account, ExtractLimits
from runtara.images._members import Rules
from runtara.images._scratch import remove_tree, scratch_folder, settle
from runtara.images._sweep import sweep
from runtara.images._tree import Tree
from runtara.images.extract import extract

__all__ = ["ContainerConfig", "unpack"]

_TAG: Final = "image"
_HINT: Final = "images of containers are unpacked with it; install it (Debian: apt-get install umoci)"


def unpack(
    archive: Path, target: Path, limits: ExtractLimits, *, environment: Mapping[str, str], timeout_s: float
) -> ContainerConfig:
    """Unpack the image in `archive` as the new folder `target`, wholly or not at all, and return how it is run.

    Raises `InvalidInput` for what is damaged or not allowed, `TooLarge` for more than the limits, `ConfigError` without
    umoci, `AlreadyExists`, `StoreFull` where there is no room, `StoreUnavailable` for what else the disk refuses.
    """
    umoci = find_program("umoci", environment, _HINT)
    with answer_refusals(f"the image {archive.name} cannot be unpacked"):
        if target.exists():
            raise AlreadyExists(f"{target} is there already: unpack into a new folder")
        with scratch_folder(target) as scratch:
            config = _prepare(archive, scratch, limits)
            run_command(
                # Names without a colon, whatever the folder is called: umoci takes what comes after one for a tag.
                [umoci, "raw", "unpack", "--rootless", "--image", f"layout:{_TAG}", "rootfs"],
                what=f"unpacking the image {archive.name}",
                folder=scratch,
                environment={"PATH": environment.get("PATH", ""), "HOME": str(scratch), "LANG": "C.UTF-8"},
                timeout_s=timeout_s,
            )
            remove_tree(scratch / "layout")
            sweep(scratch / "rootfs", Account(limits))
            settle(scratch / "rootfs", target)
    return config


def _prepare(archive: Path, scratch: Path, limits: ExtractLimits) -> ContainerConfig:
    """Lay out anew what was saved, judged and verified, and return how the image is run."""
    extract(archive, scratch / "saved", Rules.BUNDLE, limits)
    account = Account(limits)
    with Tree(scratch / "saved") as tree:
        bundle = Bundle(tree, account)
        found = bundle.find()
        config = container_config(found.config)
        lay_out(bundle, found, scratch / "layout", _TAG)
    remove_tree(scratch / "saved")
    return config
