import pytest
import torch

from gpstoken.baselines.maskgit import MaskGITAutoencoder, ResidualBlock

TINY = {
    "codebook_size": 5, "latent_channels": 3, "block_out_channels": [4, 8, 8], "layers_per_block": 1,
    "norm_num_groups": 2,
}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MaskGITAutoencoder(**TINY).eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = MaskGITAutoencoder().eval()
        indices = tokenizer.encode(torch.empty(1, 3, 256, 256))
    # 54.51 M in systems.md of the suite, 54.5 M in the paper's table
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) / 1e6 == pytest.approx(54.51, abs=0.01)
    # By hand: two blocks a level of 128, 128, 256, 256 and 512 channels and two of 512 between, in each half
    encoder = 3 * 128 + 4 * 128**2 + 4 * 128**2 + 128 * 256 + 3 * 256**2 + 4 * 256**2 + 256 * 512 + 7 * 512**2
    decoder = 256 * 512 + 8 * 512**2 + 512 * 256 + 7 * 256**2 + 256 * 128 + 7 * 128**2 + 128 * 3
    doubling = 512**2 + 256**2 + 256**2 + 128**2
    of_one_pixel = 256**2 + 512**2 + 512 * 256 + 256**2 + 128**2  # four shortcuts and the encoder's head
    weights = sum(parameter.numel() for parameter in tokenizer.parameters() if parameter.dim() == 4)
    assert weights == 9 * (encoder + decoder + doubling) + of_one_pixel
    assert tokenizer.quantize.embedding.weight.shape == (1024, 256)
    assert indices.shape == (1, 16, 16) and tokenizer.factor == 16


def test_a_block_whose_width_changes_has_no_path_around_it():
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    narrow, wide = ResidualBlock(4, 4, 2), ResidualBlock(4, 8, 2)
    for block in (narrow, wide):
        torch.nn.init.zeros_(block.conv2.weight)
    assert torch.equal(narrow(x), x) and torch.equal(wide(x), torch.zeros(1, 8, 3, 3))
    torch.nn.init.dirac_(wide.conv2.weight)  # what the second convolution is given passes through it
    with torch.no_grad():
        hidden = torch.nn.functional.silu(wide.norm2(wide.conv1(torch.nn.functional.silu(wide.norm1(x)))))
        wide.shortcut.weight.copy_(3 * torch.eye(8)[..., None, None])
        # h + 3 h against 4 h: two roundings of 6e-8
        torch.testing.assert_close(wide(x), 4 * hidden, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_images_are_of_0_to_1_within(tiny, image):
    seen = []
    tiny.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    indices = tiny.encode(image)
    assert seen[0].min() >= 0 and seen[0].max() <= 1 and torch.allclose(2 * seen[0] - 1, image, atol=1e-6)
    tiny.decoder.register_forward_hook(lambda _, inputs, output: torch.full_like(output, 0.25))
    assert torch.equal(tiny.decode(indices), torch.full_like(image, -0.5))


@torch.no_grad()
def test_tokens_are_the_nearest_entries(tiny, image):
    indices = tiny.encode(image)
    assert indices.shape == (2, 8, 6) and indices.dtype == torch.long
    assert torch.equal(tiny(image), tiny.decode(indices)) and tiny(image).shape == image.shape
    latents = tiny.latents(image).movedim(1, -1)
    distances = (latents[..., None, :] - tiny.quantize.embedding.weight).square().sum(-1)
    assert torch.equal(indices, distances.argmin(-1))
    packed = tiny.pack(image)
    assert set(packed) == {"codes"} and torch.equal(tiny.unpack(packed), indices)


def test_the_commitment_weighs_a_quarter_on_the_encoder(tiny, image):
    tiny.train()
    with torch.no_grad():
        tiny.encoder[-1].weight.zero_()
        tiny.encoder[-1].bias.copy_(torch.tensor([6.2, 6.6, 8.4]))
        tiny.quantize.embedding.weight.copy_(torch.arange(15.0).reshape(5, 3))
    tiny(image)
    value, factor = tiny.latent_terms(image)["codebook"]
    # mean (z - e)^2 = (.04 + .16 + .16) / 3 = .12, once whole and once with beta = .25
    assert value.item() == pytest.approx(0.15, rel=1e-5) and factor == 1.0
    to_bias, to_weight = torch.autograd.grad(value, [tiny.encoder[-1].bias, tiny.quantize.embedding.weight])
    assert to_bias.tolist() == pytest.approx([0.1 / 3, -0.2 / 3, 0.2 / 3], rel=1e-4)
    assert to_weight[2].tolist() == pytest.approx([-0.4 / 3, 0.8 / 3, -0.8 / 3], rel=1e-4)


def test_config_rebuilds_it(tiny, image):
    twin = MaskGITAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad
    with pytest.raises(ValueError, match="norm_num_groups=3 does not divide 4"):
        MaskGITAutoencoder(**TINY | {"norm_num_groups": 3})
