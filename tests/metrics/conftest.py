from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session")
def photographs():
    """uint8[12, 3, 64, 64]: the middle of twelve embedded photographs, a fourth of their size."""
    files = sorted(Path("data/embedded/images/natural").iterdir())[:12]
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            left, top = ((side - 256) // 2 for side in picture.size)
            picture = picture.convert("RGB").crop((left, top, left + 256, top + 256)).resize((64, 64))
        pictures.append(np.asarray(picture))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
