from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpstoken import Gaussians, GPSToken, splat
from gpstoken.base import Tokenizer
from gpstoken.profiling.counting import count, parameter_counts
from gpstoken.profiling.inputs import picture
from gpstoken.profiling.shapes import counting, without_weights


@pytest.fixture(params=["without weights", "with weights"])
def made(request):
    def make(build):
        return without_weights(build, ()) if request.param == "without weights" else build().eval()

    return make


def counted(network, *inputs):
    _, counts, _ = count(lambda: network(*inputs))
    return counts.total, counts.attention, counts.attention_layers


@pytest.mark.parametrize(
    ("build", "shape", "products"),
    [
        # 6 x 7 outputs, each 5 filters of 3 x 3 x 3
        (lambda: nn.Conv2d(3, 5, 3, padding=1), (1, 3, 6, 7), 6 * 7 * 5 * 27),
        # two groups: 8 filters, each over 2 of 4 channels; a batch of 2
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), (2, 4, 5, 5), 2 * 25 * 8 * 2 * 9),
        # every one of 6 x 6 inputs meets 4 x 4 x 5 weights of each of 3 channels
        (lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (1, 3, 6, 6), 36 * 3 * 5 * 16),
        (lambda: nn.Linear(7, 11), (2, 3, 7), 2 * 3 * 7 * 11),
        (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.SiLU(), nn.Upsample(scale_factor=2)), (1, 4, 8, 8), 0),
    ],
)
def test_layers_counted_by_hand(made, build, shape, products):
    assert counted(made(build), torch.zeros(shape)) == (products, 0, 0)


@pytest.mark.parametrize(
    ("query", "key", "value", "products"),
    [
        # heads x queries x keys x (width of keys + width of values); the first is fused on the CPU, the others are not
        ((1, 2, 16, 8), (1, 2, 16, 8), (1, 2, 16, 8), 2 * 16 * 16 * (8 + 8)),
        ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), 2 * 3 * 5 * 7 * (8 + 4)),
        ((2, 5, 8), (2, 7, 8), (2, 7, 8), 2 * 5 * 7 * (8 + 8)),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_attention_counted_by_hand(query, key, value, products, named):
    query, key, value = map(torch.zeros, (query, key, value))
    if named:
        call = partial(F.scaled_dot_product_attention, query=query, key=key, value=value)
    else:
        call = partial(F.scaled_dot_product_attention, query, key, value)
    assert counted(call) == (products, products, products)


def test_attention_over_strided_values_is_counted():
    # what a network over the cells of a feature map passes: [B, C, h, w] seen as [B, 1, h w, C], which no kernel fuses
    cells = torch.zeros(1, 8, 4, 4).flatten(2).transpose(1, 2)[:, None]
    call = partial(F.scaled_dot_product_attention, cells, cells, cells)
    assert counted(call) == (16 * 16 * 16,) * 3


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_attention_layer_in_evaluation_counted_by_hand(made, batch_first):
    layer = made(lambda: nn.MultiheadAttention(6, 2, batch_first=batch_first))
    x = torch.zeros(3, 5, 6) if batch_first else torch.zeros(5, 3, 6)
    products = 3 * (2 * 5 * 5 * 6)
    projections = 3 * 5 * 4 * 6 * 6
    assert counted(lambda: layer(x, x, x, need_weights=False)) == (
        products + projections,
        products,
        products + projections,
    )


def test_torch_fast_path_which_hides_what_it_computes_is_off_while_counting_alone():
    assert torch.backends.mha.get_fastpath_enabled()
    with counting():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


class TinyViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(6, 2, 24, batch_first=True, norm_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, image):
        return self.head(self.layer(self.patches(image).flatten(2).mT).mean(1))


def test_a_tiny_vit_counted_by_hand(made):
    # 8 x 8 pixels: four patches of 48 numbers to width 6; qkv, attention, projection, MLP; the mean to 5 classes.
    patches, qkv, attention, projection, mlp, head = 4 * 48 * 6, 4 * 3 * 36, 2 * 4 * 4 * 6, 4 * 36, 4 * 2 * 6 * 24, 30
    total = patches + qkv + attention + projection + mlp + head
    assert total == 3102
    assert counted(made(TinyViT), torch.zeros(1, 3, 8, 8)) == (3102, 192, 768)


def test_the_splat_counts_every_gaussian_at_every_point_whatever_the_image():
    gaussians = Gaussians(torch.zeros(1, 3, 2), torch.full((1, 3, 2), 0.1), torch.zeros(1, 3))
    assert counted(lambda: splat(gaussians, torch.zeros(1, 3, 2), (4, 5), backend="reference")) == (3 * 20 * 2, 0, 0)
    # a row's own backend does not matter; decoder of one level of width 4 on 8 x 8, 4 tokens of 4 channels
    config = {"num_tokens": 4, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 8, "depth": 1}
    config |= {"heads": 1, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2}
    tokenizer = without_weights(partial(GPSToken, **config), ["num_tokens", "splat_backend"])
    tokens, _, _ = count(partial(tokenizer.encode, picture(1, 32)))
    rendered, _, _ = count(partial(tokenizer.render, tokens))
    assert tuple(rendered.shape) == (1, 4, 8, 8)
    assert counted(tokenizer.render, tokens) == (4 * 64 * 4, 0, 0)


class Coder(Tokenizer):
    """Linear layers with a codebook that both directions read, and a layer that nothing reads."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(10, 4), nn.Linear(4, 10)
        self.codes, self.unused = nn.Embedding(7, 4), nn.Linear(3, 3)

    def encode(self, image):
        dtype = self.up.weight.dtype  # asked of a parameter of the other direction
        return torch.cdist(self.down(image.to(dtype)), self.codes.weight).argmin(-1)

    def decode(self, tokens):
        return self.up(self.codes(tokens))

    def code(self, size, num_tokens=None):
        raise NotImplementedError

    config = last_layer = None


def test_parameters_belong_to_the_direction_that_alone_reads_them(made):
    coder = made(Coder)
    tokens, _, encoding = count(lambda: coder.encode(torch.zeros(2, 5, 10)))
    _, _, decoding = count(lambda: coder.decode(tokens))
    counts = parameter_counts(coder, encoding, decoding)
    assert counts == {"total": 134, "encoder": 44, "decoder": 50, "other": 28 + 12}


def test_a_network_that_decides_by_its_numbers_is_refused():
    network = without_weights(lambda: nn.Linear(2, 2), ())
    with pytest.raises(ValueError, match="not countable: the network's operations depend on its values"):
        count(lambda: bool(network(torch.zeros(1, 2)).sum() > 0))
    assert torch.backends.mha.get_fastpath_enabled()
