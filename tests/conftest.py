"""What tests of several packages share."""

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """torch-fidelity's Inception with random weights that keep the scale of its activations, as a file."""
    extractor = feature_extractor_inceptionv3.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(extractor, "load_state_dict", lambda *_, **__: None)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = extractor("inception-v3-compat", ["2048"])
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.weight, 2.0, 3.0)
                    torch.nn.init.normal_(module.bias, std=0.1)
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path
