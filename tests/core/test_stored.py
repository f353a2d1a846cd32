import os

import numpy as np
import pytest

from fastals.core.stored import folder_with_room, mapped_room


def test_room_is_written_like_memory_and_has_no_name(tmp_path):
    room = mapped_room(str(tmp_path), 1000, np.dtype(np.float32))
    room[:] = np.arange(1000)
    assert room.sum() == 499500
    assert room.dtype == np.float32
    assert list(tmp_path.iterdir()) == []


def test_room_of_nothing():
    assert mapped_room(folder_with_room("/nowhere"), 0, np.dtype(np.float64)).shape == (0,)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system promises no room")
def test_a_disk_without_room_is_told_of_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match=r"space|large|nvalid"):
        mapped_room(str(tmp_path), 2**55, np.dtype(np.float64))
