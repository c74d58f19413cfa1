import torch
import torch.nn.functional as F
from torch import nn

from gpstoken.profiling.memory import inference_bytes, training_bytes
from gpstoken.profiling.shapes import without_weights

FLOAT = 4  # bytes


def two_layers(inplace=False):
    return without_weights(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace), nn.Linear(8, 2)), ())


def trained(network, x, target):
    return training_bytes(network.train(), lambda: F.mse_loss(network(x), target))


def test_a_training_step_of_two_layers_counted_by_hand():
    x, target = torch.zeros(3, 4), torch.zeros(3, 2)
    # Saved: the input, the rectified layer (by the rectifier and by the second layer, once), output and target.
    activations = 3 * 4 + 3 * 8 + 3 * 2 + 3 * 2
    parameters = 4 * 8 + 8 + 8 * 2 + 2
    assert trained(two_layers(), x, target) == {
        "parameters": FLOAT * parameters,
        "gradients": FLOAT * parameters,
        "moments": FLOAT * 2 * parameters,
        "activations": FLOAT * activations,
    }


def test_a_frozen_layer_has_neither_gradient_nor_moments_nor_saved_input():
    network = two_layers()
    network[0].requires_grad_(False)
    assert trained(network, torch.zeros(3, 4), torch.zeros(3, 2)) == {
        "parameters": FLOAT * 58,
        "gradients": FLOAT * 18,
        "moments": FLOAT * 36,
        "activations": FLOAT * (3 * 8 + 3 * 2 + 3 * 2),
    }


def test_views_share_their_storage():
    network = without_weights(lambda: nn.Linear(4, 4, bias=False), ())
    x = torch.zeros(2, 4)

    def loss():
        halves = network(x).chunk(2, dim=1)  # both halves are saved by the product, of one storage
        return (halves[0] * halves[1]).sum()

    assert training_bytes(network, loss)["activations"] == FLOAT * (2 * 4 + 2 * 4)


def test_running_two_layers_holds_at_most_what_lives_at_once():
    x = torch.zeros(3, 4)
    network = two_layers()
    # Input and both sides of the rectifier; the output comes when its input is gone.
    expected = {"parameters": FLOAT * 58, "activations": FLOAT * (3 * 4 + 3 * 8 + 3 * 8)}
    assert inference_bytes(network, lambda: network(x), x) == expected
    network = two_layers(inplace=True)
    expected["activations"] = FLOAT * (3 * 4 + 3 * 8 + 3 * 2)
    assert inference_bytes(network, lambda: network(x), x) == expected


def test_memory_grows_with_the_batch_and_its_weights_do_not():
    network = two_layers()
    small, large = (trained(network, torch.zeros(n, 4), torch.zeros(n, 2)) for n in (3, 30))
    assert large["activations"] == 10 * small["activations"]
    assert large["parameters"] == small["parameters"]


def test_buffers_are_held_but_not_trained():
    network = without_weights(lambda: nn.BatchNorm2d(3), ())
    counted = trained(network, torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    # weight, bias; running mean and variance of 3 floats, a counter of 8 bytes
    assert counted["parameters"] == FLOAT * 6 + FLOAT * 6 + 8
    assert counted["gradients"] == FLOAT * 6
