"""RAE against the library's own class, loaded from a folder as published, and against arithmetic."""

import pytest
import torch
from diffusers import AutoencoderRAE

from gpstoken.base import Code
from gpstoken.baselines.published import read_published
from gpstoken.baselines.rae import RepresentationAutoencoder
from gpstoken.profiling.counting import count

TINY = {
    "encoder_size": 28, "encoder_patch_size": 14, "encoder_width": 64, "encoder_depth": 1, "patch_size": 4, "width": 16,
    "depth": 2, "heads": 2, "hidden_width": 24,
}  # fmt: skip
# The same in the library's words.
OPTIONS = {
    "encoder_input_size": 28, "encoder_patch_size": 14, "encoder_hidden_size": 64, "encoder_num_hidden_layers": 1,
    "patch_size": 4, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 24,
}  # fmt: skip
# Float32 on both sides and the same layers: images are brought to [0, 1] and back, three roundings of 6e-8 of numbers
# of a few units, which the two blocks may enlarge some tens of times.
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def theirs(tmp_path):
    """The library's network with random weights and statistics of every number, saved as a folder."""
    torch.manual_seed(0)
    mean, deviation = torch.randn(64, 2, 2), 0.5 + torch.rand(64, 2, 2)
    network = AutoencoderRAE(**OPTIONS, latents_mean=mean, latents_std=deviation)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(tmp_path)
    return network.eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = RepresentationAutoencoder().eval()
        image = torch.empty(1, 3, 256, 256)
        encoder = count(lambda: tokenizer.encode(image))[1].total
        decoder = count(lambda: tokenizer.decode(torch.empty(1, 768, 16, 16)))[1].total
    # By hand. A block of the encoder: two norms, query, key, value and output, an MLP of four times the width, two
    # scales; beside the blocks class, mask and four register tokens, 37² + 1 positions, and patches of 14 pixels. Its
    # last norm has no weights.
    of_encoder = 12 * (4 * 768 + 4 * (768**2 + 768) + 2 * 4 * 768**2 + 5 * 768 + 2 * 768)
    of_encoder += 6 * 768 + 1370 * 768 + 588 * 768 + 768
    of_decoder = 28 * (4 * 1152 + 4 * (1152**2 + 1152) + 2 * 1152 * 4096 + 4096 + 1152)
    of_decoder += 768 * 1152 + 1152 + 2 * 1152 + 1152 + 1152 * 768 + 768
    assert sum(each.numel() for each in tokenizer.autoencoder.encoder.parameters()) == of_encoder
    assert sum(each.numel() for each in tokenizer.autoencoder.decoder.parameters()) == of_decoder
    assert (of_encoder + of_decoder) / 1e6 == pytest.approx(501.64, abs=0.005)
    # Products of 256 tokens, with five more in the encoder and one more in the decoder
    assert encoder == 256 * 588 * 768 + 12 * (261 * 12 * 768**2 + 2 * 261**2 * 768)
    block = 257 * (4 * 1152**2 + 2 * 1152 * 4096) + 2 * 257**2 * 1152
    assert decoder == 256 * 768 * 1152 + 28 * block + 257 * 1152 * 768
    assert tokenizer.code((256, 256)) == Code(256, (16, 16), 768, None)


@torch.no_grad()
def test_a_published_folder_gives_what_the_library_gives(tmp_path, theirs, image):
    ours = RepresentationAutoencoder(**TINY)
    ours.load_state_dict(read_published(tmp_path, ours))
    ours.eval()
    latent = theirs.encode((image + 1) / 2).latent
    torch.testing.assert_close(ours.encode(image), latent, **CLOSE)
    torch.testing.assert_close(ours(image), 2 * theirs.decode(latent).sample - 1, **CLOSE)
    # They are normalised: without the statistics they would be others.
    raw = latent * (theirs._latents_std + 1e-5) + theirs._latents_mean
    assert (raw - latent).abs().mean() > 0.1
    assert ours.pack(image)["latent"].shape == (2, 64, 2, 2)


@pytest.mark.parametrize("shape", [(1,), (64,), (64, 1, 1), (1, 64, 1, 1), (64, 2, 2), (1, 64, 2, 2)])
def test_statistics_of_channels_are_those_of_every_token(theirs, shape):
    ours = RepresentationAutoencoder(**TINY)
    given = torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)
    named = ours.own_names(theirs.state_dict() | {"_latents_std": given})
    ours.load_state_dict(named)
    expected = given.reshape(-1, 1, 1).expand(64, 2, 2) if given.numel() < 256 else given.reshape(64, 2, 2)
    assert torch.equal(ours.autoencoder._latents_std, expected)


def test_it_does_not_train(image):
    tokenizer = RepresentationAutoencoder(**TINY).train()
    assert tokenizer(image).shape == image.shape  # which profiling counts
    with pytest.raises(ValueError, match=r"\Atokenizer: RepresentationAutoencoder only loads weights; see "):
        tokenizer.latent_terms(image)
    assert not any(each.requires_grad for each in tokenizer.autoencoder.encoder.parameters())
    assert tokenizer.last_layer.shape == (48, 16)


def test_what_does_not_fit():
    tokenizer = RepresentationAutoencoder(**TINY).eval()
    with pytest.raises(
        ValueError, match=r"\Aimage: this RepresentationAutoencoder was made for 8x8 pixels, got 8x12\Z"
    ):
        tokenizer.encode(torch.zeros(1, 3, 8, 12))
    with pytest.raises(ValueError, match=r"\Alatent: expected float\[B, 64, 2, 2\], got \[1, 64, 4\]\Z"):
        tokenizer.decode(torch.zeros(1, 64, 4))
    for changes, message in (
        ({"encoder_size": 30}, "encoder_size: 30 is not a multiple of 14"),
        ({"encoder_width": 96}, "encoder_width: 96 is not a multiple of 64"),
        ({"heads": 3}, "width: 16 is not a multiple of 3"),
        ({"width": 18}, "width: 18 is not a multiple of 4"),
    ):
        with pytest.raises(ValueError, match=rf"\A{message}\Z"):
            RepresentationAutoencoder(**TINY | changes)
