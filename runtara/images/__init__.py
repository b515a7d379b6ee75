"""What programs are started from: how it arrives, how it is verified, and how it is made ready to run.

Files, and nothing else: it knows no actors and no store. All calls wait; they are made in worker threads. What is
unpacked is unpacked as if its maker were hostile.
"""

from runtara.images.blobs import Blobs
from runtara.images.extract import Extracted, ExtractLimits, Rules, extract
from runtara.images.oci import ContainerConfig, unpack
from runtara.images.prepare import Library, Prepared

__all__ = [
    "Blobs",
    "ContainerConfig",
    "ExtractLimits",
    "Extracted",
    "Library",
    "Prepared",
    "Rules",
    "extract",
    "unpack",
]
