"""One rank of a job; the disk is full for the second one when it writes the checkpoint of step 8."""

import errno
import functools
import os
import sys

from factory.job import main
from factory.training.megatron import filesystem_async


def fill_disk():
    real = filesystem_async._write_item

    @functools.wraps(real)
    def full(*args, **kwargs):
        if any("step-00000008" in str(getattr(a, "name", "")) for a in args):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    filesystem_async._write_item = full


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        fill_disk()
    main(sys.argv[1])
