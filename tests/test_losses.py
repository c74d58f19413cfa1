from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpstoken.losses import (
    PatchDiscriminator,
    adaptive_weight,
    generator_loss,
    hinge_discriminator_loss,
    inception_loss,
)

UNITS = np.load(Path(__file__).parent / "golden" / "units.npz")

# Both sides compute in float64 from inputs that float32 holds exactly; what is left is the order of sums.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def golden(name):
    return torch.from_numpy(UNITS[name]).double()


@pytest.fixture
def discriminator():
    network = PatchDiscriminator(channels=8, levels=3).double().train()
    released = {name.removeprefix("disc_"): golden(name) for name in UNITS.files if name.startswith("disc_main")}
    assert released.keys() == dict(network.named_parameters()).keys()
    network.load_state_dict(released, strict=False)  # running statistics, which training mode does not use, stay
    return network


def test_discriminator_and_losses_are_the_released_ones(discriminator):
    last_layer = golden("disc_last_layer").requires_grad_()
    fake = F.conv2d(golden("disc_feat"), last_layer, padding=1)
    real = golden("disc_real")
    logits_real, logits_fake = discriminator(real), discriminator(fake)
    torch.testing.assert_close(logits_real, golden("disc_logits_real"), **TOLERANCE)
    torch.testing.assert_close(logits_fake, golden("disc_logits_fake"), **TOLERANCE)
    reconstruction, adversarial = F.mse_loss(real, fake), generator_loss(logits_fake)
    torch.testing.assert_close(reconstruction, golden("loss_nll"), **TOLERANCE)
    torch.testing.assert_close(adversarial, golden("loss_g"), **TOLERANCE)
    torch.testing.assert_close(hinge_discriminator_loss(logits_real, logits_fake), golden("loss_d_hinge"), **TOLERANCE)
    weight = adaptive_weight(reconstruction, adversarial, last_layer)
    torch.testing.assert_close(weight, golden("adaptive_weight"), **TOLERANCE)
    assert not weight.requires_grad and reconstruction.requires_grad


def test_discriminator_size():
    # The pix2pix 70 x 70 PatchGAN: 3 -> 64 -> 128 -> 256 -> 512 -> 1 with 4 x 4 kernels.
    convolutions = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1) + 64 + 1
    norms = 2 * (128 + 256 + 512)
    with torch.device("meta"):
        network = PatchDiscriminator()
        logits = network(torch.empty(1, 3, 256, 256))
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + norms == 2_765_633
    assert logits.shape == (1, 1, 30, 30)


def test_hinge_by_hand():
    # relu(1 - 2), relu(1 - 0), relu(1 + 1), relu(1 - 3): (0 + 1) / 2 and (2 + 0) / 2, halved.
    assert hinge_discriminator_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, -3.0])).item() == 0.75


def test_generator_loss_by_hand():
    assert generator_loss(torch.tensor([[1.0, -4.0]])).item() == 1.5


def test_adaptive_weight_by_hand():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    # Gradients (6, 8) of norm 10 and (0, 2) of norm 2.
    ratio = adaptive_weight(weight.square().sum(), 2 * weight[1], weight, scale=0.5)
    assert ratio.item() == pytest.approx(0.5 * 10 / 2.0001, rel=1e-6)


def test_adaptive_weight_is_clamped_where_the_adversary_is_flat():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    assert adaptive_weight(weight.square().sum(), 0 * weight.sum(), weight, scale=0.3).item() == pytest.approx(3000)


def test_inception_loss_pulls_the_reconstruction_alone():
    network = torch.nn.Flatten()
    reconstruction, image = torch.zeros(1, 3, 2, 2, requires_grad=True), torch.ones(1, 3, 2, 2, requires_grad=True)
    loss = inception_loss(network, reconstruction, image)
    loss.backward()
    assert loss.item() == 1 and image.grad is None
    torch.testing.assert_close(reconstruction.grad, torch.full((1, 3, 2, 2), -2 / 12))
