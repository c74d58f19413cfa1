"""Mixed precision and compilation as flags."""

import pytest
import torch
import torch._dynamo

from gpstoken.training import AveragedWeights


def test_bfloat16_keeps_the_geometry_in_float32(make_module, noise, fit):
    module = make_module(adversarial_start=1)
    gaussians, other = [], []
    module.tokenizer.refine.register_forward_hook(lambda _, __, output: gaussians.append(output[0]))
    module.tokenizer.decoder.conv_in.register_forward_hook(lambda _, __, output: other.append(output.dtype))
    before = [parameter.clone() for parameter in module.parameters()]
    options = {"precision": "bf16-mixed", "max_steps": 3, "val_check_interval": 2}
    trainer = fit(module, noise(), [AveragedWeights(every=1, copy_until=9)], **options)
    assert trainer.global_step == 3
    assert set(other) == {torch.bfloat16}
    assert len(gaussians) == 4  # three steps and one batch of validation
    for each in gaussians:
        for part in (each.mu, each.sigma, each.rho):
            assert part.dtype == torch.float32
            assert torch.isfinite(part).all()
        assert (each.sigma > 0).all()
        assert (each.rho.abs() < 1).all()
    after = list(module.parameters())
    assert all(parameter.dtype == torch.float32 and torch.isfinite(parameter).all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert torch.isfinite(trainer.callback_metrics["validation/psnr"])


# torch's own look at an intermediate tensor while it traces
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_networks_train_alike(make_module, noise, fit, monkeypatch):
    # The default backend takes minutes on a CPU: this is its tracing with the traced operations run as they are.
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_module(self, backend="eager"))
    torch._dynamo.utils.counters.clear()
    modules = [make_module(compile=compiled) for compiled in (True, False)]
    for module in modules:
        fit(module, noise(), [AveragedWeights(every=1, copy_until=9)], max_steps=2)
        torch._dynamo.reset()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    first, second = (module.state_dict() for module in modules)
    assert list(first) == list(second)
    for name, value in first.items():
        # The operations are the same, one by one. Of two steps of Adam, 1e-3 each, a thousandth is left to rounding.
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6, msg=name)
