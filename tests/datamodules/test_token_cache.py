"""A token cache written by hand: what a batch is, in which order, and what is refused."""

import json
import pickle
import random
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file

from datamodules import TokenCache
from gpstoken.files.digests import DIGEST, digest

WARNINGS = (
    # Lightning 2.6 against torch 2.14.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
    # Lightning's advice on speed, for data of 23 samples.
    "ignore:The '[a-z]+_dataloader' does not have many workers",
    # Resumed runs here do not go on saving.
    "ignore:Be aware that when using `ckpt_path`",
)
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]
IDENTITY = "0123"
CODE = {"tokens": 4, "shape": [4], "channels": 7, "codebook_size": None}
SHARDS = {"train": (10, 10, 3), "val": (4, 1)}


def tensors(first, count, grid):
    """Sample i of a cache holds i in all its numbers."""
    index = torch.arange(first, first + count)
    shapes = {"latent": (2, 3, 3)} if grid else {"geometry": (4, 5), "layout": (4, 5), "features": (4, 2)}
    numbers = {
        name: index.float().view(-1, *(1 for _ in shape)).repeat(1, *shape) + 0.25 * place
        for place, (name, shape) in enumerate(shapes.items())
    }
    return {**numbers, "label": index % 3, "index": index}


def write(root, splits=SHARDS, grid=False, **changes):
    record = {
        "format": "gpstoken.cache", "version": 2, "identity": IDENTITY, "statistics": {}, "code": CODE,
        "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "sha256": "00", "path": "last.ckpt"},
        "num_classes": 3, "splits": {},
    }  # fmt: skip
    for split, counts in splits.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        shards, first = [], 0
        for number, count in enumerate(counts):
            name = f"{split}/shard-{number:05d}.safetensors"
            content = tensors(first, count, grid)
            described = {"identity": IDENTITY, "samples": count, DIGEST: digest(content)}
            save_file(content, root / name, {"gpstoken.cache": json.dumps(described)})
            shards.append({"file": name, "samples": count})
            first += count
        record["splits"][split] = {"samples": first, "shards": shards}
    (root / "cache.json").write_text(json.dumps(record | changes))
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "cache")


def indices(loader):
    return torch.cat([batch["index"] for batch in loader]).tolist()


def test_batch_contract(root):
    data = TokenCache(str(root), batch_size=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    numbers = {"geometry": (4, 4, 5), "layout": (4, 4, 5), "features": (4, 4, 2)}
    assert shapes == {**numbers, "label": (4,), "index": (4,)}
    assert all(batch[name].dtype == torch.float32 for name in numbers)
    assert batch["label"].dtype == batch["index"].dtype == torch.long
    for place, name in enumerate(numbers):  # all tensors of a sample are of this sample
        assert torch.equal(batch[name], (batch["index"] + 0.25 * place).view(-1, 1, 1).expand_as(batch[name]))
    assert torch.equal(batch["label"], batch["index"] % 3)
    assert (data.batch_size, data.record["num_classes"]) == (4, 3)


def test_grid_latents(tmp_path):
    data = TokenCache(str(write(tmp_path, grid=True)), batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"latent", "label", "index"}
    assert torch.equal(batch["latent"][:, 1, 2, 0], batch["index"].float())


def with_codes(root, codes, dtype=torch.int32):
    """A cache of one shard of codes, of a codebook of seven."""
    content = {"codes": torch.tensor(codes, dtype=dtype), "label": torch.arange(len(codes)) % 3}
    content["index"] = torch.arange(len(codes))
    write(root, {"train": ()}, code={"tokens": 4, "shape": [2, 2], "channels": 1, "codebook_size": 7})
    described = {"identity": IDENTITY, "samples": len(codes), DIGEST: digest(content)}
    save_file(content, root / "train/shard-00000.safetensors", {"gpstoken.cache": json.dumps(described)})
    record = json.loads((root / "cache.json").read_text())
    record["splits"]["train"]["shards"] = [{"file": "train/shard-00000.safetensors", "samples": len(codes)}]
    (root / "cache.json").write_text(json.dumps(record))
    return TokenCache(str(root), batch_size=2)


def test_codes_are_long_however_they_were_kept(tmp_path):
    batch = next(iter(with_codes(tmp_path, [[[0, 6], [1, 2]], [[3, 4], [5, 0]]]).train_dataloader()))
    assert batch["codes"].dtype == torch.long and set(batch) == {"codes", "label", "index"}
    assert sorted(batch["codes"].tolist()) == [[[0, 6], [1, 2]], [[3, 4], [5, 0]]]


def test_codes_beside_numbers(tmp_path):
    root = write(tmp_path, {"train": (4,)}, code=CODE | {"channels": 6, "codebook_size": 7})
    path = root / "train/shard-00000.safetensors"
    content = {name: tensor for name, tensor in tensors(0, 4, False).items() if name not in ("layout", "features")}
    content["codes"] = torch.arange(16, dtype=torch.int32).reshape(4, 4) % 7
    described = {"identity": IDENTITY, "samples": 4, DIGEST: digest(content)}
    save_file(content, path, {"gpstoken.cache": json.dumps(described)})
    samples = TokenCache(str(root), batch_size=2).dataset("train")
    assert samples[3]["codes"].tolist() == [5, 6, 0, 1] and samples[3]["geometry"].shape == (4, 5)
    content["codes"][0, 0] = 7
    save_file(content, path, {"gpstoken.cache": json.dumps(described | {DIGEST: digest(content)})})
    with pytest.raises(ValueError, match="expected codes 0 to 6, got 0 to 7"):
        TokenCache(str(root), batch_size=2).dataset("train")[0]


@pytest.mark.parametrize(
    ("codes", "dtype", "said"),
    [
        ([[[0, 7], [1, 2]]], torch.int32, "expected codes 0 to 6, got 0 to 7"),
        ([[[0, -1], [1, 2]]], torch.int64, "expected codes 0 to 6, got -1 to 2"),
        ([[[0, 1], [1, 2]]], torch.float32, "codes is torch.float32"),
        ([0], torch.int32, "codes is torch.int32"),
    ],
)
def test_codes_that_are_none(tmp_path, codes, dtype, said):
    with pytest.raises(ValueError, match=f"shard-00000.safetensors: {said}"):
        with_codes(tmp_path, codes, dtype).batch_size = 1
        TokenCache(str(tmp_path), batch_size=1).dataset("train")[0]


def test_every_sample_once_an_epoch_in_another_order(root):
    data = TokenCache(str(root), batch_size=1, seed=1)
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(indices(loader))
    assert all(sorted(order) == list(range(23)) for order in epochs)
    assert len({tuple(order) for order in [*epochs, list(range(23))]}) == 3
    assert indices(TokenCache(str(root), batch_size=1, seed=2).train_dataloader()) != epochs[0]
    assert indices(TokenCache(str(root), batch_size=1, seed=1).train_dataloader()) == epochs[0]


def test_the_last_incomplete_batch_is_dropped(root):
    loader = TokenCache(str(root), batch_size=4).train_dataloader()
    assert len(loader) == 5 and len(set(indices(loader))) == 20


def test_samples_by_number_are_in_the_order_of_the_cache(root):
    samples = TokenCache(str(root)).dataset("val")
    assert [int(samples[i]["index"]) for i in range(len(samples))] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError):
        samples[5]


@pytest.mark.parametrize("length", [5, 8, 23, 46, 50])
def test_epochs_of_another_length_go_through_the_whole_cache(root, length):
    data = TokenCache(str(root), batch_size=1, seed=3, epoch_length=length)
    loader = data.train_dataloader()
    seen = []
    for epoch in range(-(-46 // length)):
        loader.sampler.set_epoch(epoch)
        seen.append(sorted(indices(loader)))
    assert all(len(epoch) == length for epoch in seen)
    if length < 23:  # a piece of the first lap, by chance and not the first shard
        assert seen[0] != list(range(length))
    samples = data.dataset("train")
    for lap in (0, 1):  # each lap of 23 has every sample once, wherever epochs end
        keys = [divmod(23 * lap + i, length) for i in range(23)]
        assert sorted(int(samples[key]["index"]) for key in keys) == list(range(23))


def test_devices_share_an_epoch(root):
    shares = []
    for rank in (0, 1):
        data = TokenCache(str(root), batch_size=2)
        loop = SimpleNamespace(epoch_loop=None)
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank, fit_loop=loop)
        shares.append((indices(data.train_dataloader()), indices(data.val_dataloader())))
    (train, val), (other_train, other_val) = shares
    assert len(train) == len(other_train) == 10 and not set(train) & set(other_train)
    assert sorted(val + other_val) == [0, 1, 2, 3, 4]


def test_too_few_samples_for_the_devices(tmp_path):
    data = TokenCache(str(write(tmp_path, {"train": (2,), "val": (1,)})), batch_size=1)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(ValueError, match="1 samples of val for 2 devices"):
        data.val_dataloader()


def test_validation_in_order_and_none_where_there_is_none(root, tmp_path):
    assert indices(TokenCache(str(root), batch_size=2).val_dataloader()) == [0, 1, 2, 3, 4]
    for number, splits in enumerate(({"train": (3,)}, {"train": (3,), "val": ()})):
        assert TokenCache(str(write(tmp_path / str(number), splits))).val_dataloader() == []


def test_worker_processes_read_the_same(root):
    data = TokenCache(str(root), batch_size=4, num_workers=2)
    alone = TokenCache(str(root), batch_size=4)
    assert indices(data.train_dataloader()) == indices(alone.train_dataloader())


def test_a_process_that_gets_the_samples_opens_the_files_itself(root):
    samples = TokenCache(str(root), batch_size=1).dataset("train")
    before = len(pickle.dumps(samples))
    assert samples[22]["index"] == 22
    content = pickle.dumps(samples)
    assert len(content) == before
    assert pickle.loads(content)[22]["features"][0, 0] == 22.5


class Recorder(LightningModule):
    """One weight; remembers the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple] = []

    def training_step(self, batch, batch_idx):
        loss = (batch["features"] - self.weight).square().mean()
        self.seen.append((self.current_epoch, tuple(batch["index"].tolist()), loss.item()))
        return loss

    def validation_step(self, batch, batch_idx):
        assert batch["index"].tolist() == list(range(4 * batch_idx, min(4 * batch_idx + 4, 5)))

    def configure_optimizers(self):
        return torch.optim.Adam([self.weight], lr=0.1)


def fit(root, folder, ckpt_path=None, seed=0, saved=False, **options):
    model = Recorder()
    saver = [ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)] if saved else []
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=2,
        default_root_dir=folder, callbacks=saver, enable_checkpointing=saved,
    )  # fmt: skip
    data = TokenCache(str(root), batch_size=4, seed=seed, **options)
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return model.seen


@pytest.mark.parametrize("length", [None, 13])
def test_a_fit_that_goes_on_in_the_middle_sees_what_the_unbroken_one_saw(root, tmp_path, length):
    run = tmp_path / "run"
    unbroken = fit(root, run, saved=True, epoch_length=length)
    batches = (length or 23) // 4
    assert len(unbroken) == 2 * batches
    for step in (1, batches, batches + 1):
        assert fit(root, run, run / f"step={step}.ckpt", epoch_length=length) == unbroken[step:]
    with pytest.raises(ValueError, match="made with seed 0, this run has 1"):
        fit(root, run, run / "step=1.ckpt", seed=1, epoch_length=length)


def refused(root, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        TokenCache(str(root), **options).setup("fit")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_cache_says_how_to_make_it(tmp_path, root):
    assert "gpstoken cache --tokenizer" in refused(tmp_path / "absent", "found nothing at")
    (root / "cache.json").unlink()
    assert f"-o {root}" in refused(root, "found a folder without cache.json")


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null", '{"format": "gpstoken.cache", "version": 2}', "\x00\xff"])
def test_a_damaged_description(root, content):
    (root / "cache.json").write_text(content)
    refused(root, "cache.json: damaged, or not a token cache's description")


@pytest.mark.parametrize(("name", "value"), [("version", 1), ("format", "other")])
def test_another_format(tmp_path, name, value):
    refused(write(tmp_path, **{name: value}), "this code reads gpstoken.cache 2")


def test_shards_that_are_not_as_the_cache_says(root):
    path = root / "train" / "shard-00001.safetensors"
    whole = path.read_bytes()
    path.unlink()
    assert f"delete {root} and run" in refused(root, "shard-00001.safetensors: this shard is missing")
    for part in (0, 7, 200, len(whole) - 1):
        path.write_bytes(whole[:part])
        refused(root, "shard-00001.safetensors: damaged, or not a shard")
    other = {"gpstoken.cache": json.dumps({"identity": "4567", "samples": 10})}
    for metadata in (None, {"format": "pt"}, other):
        save_file(tensors(10, 10, False), path, metadata)
        refused(root, "shard-00001.safetensors: a shard of another cache")
    own = {"gpstoken.cache": json.dumps({"identity": IDENTITY, "samples": 10})}
    save_file(tensors(10, 9, False), path, own)
    refused(root, "expected 10 samples")
    save_file(tensors(10, 10, True), path, own)
    refused(root, "holds .*latent")
    path.write_bytes(whole)
    TokenCache(str(root), batch_size=4).setup("fit")


def test_an_epoch_shorter_than_a_batch(root):
    refused(root, "an epoch of 23 samples is below batch_size 24", batch_size=24)
    refused(root, "an epoch of 3 samples is below batch_size 4", batch_size=4, epoch_length=3)


@pytest.mark.parametrize("name", ["batch_size", "num_workers", "seed", "epoch_length"])
def test_numbers_below_the_limit(root, name):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number of at least"):
        TokenCache(str(root), **{name: -1})


def test_no_flipped_bit_of_a_shard_gives_other_samples(root, capsys):
    path, chance = root / "val/shard-00001.safetensors", random.Random(0)
    whole, expected = path.read_bytes(), TokenCache(str(root)).dataset("val")[4]
    for _ in range(160):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            found = TokenCache(str(root)).dataset("val")[4]
        except ValueError as error:
            assert str(path) in str(error)
        else:
            same = all(torch.equal(found[name], value) for name, value in expected.items())
            assert same or "has no digest" in capsys.readouterr().err, place


@pytest.mark.parametrize(("labels", "said"), [([0, 1, 2, 3], "got 0 to 3"), ([0, -1, 2, 0], "got -1 to 2")])
def test_labels_that_are_no_class(root, labels, said):
    path, content = root / "val/shard-00000.safetensors", tensors(0, 4, False)
    content["label"] = torch.tensor(labels)
    described = {"identity": IDENTITY, "samples": 4, DIGEST: digest(content)}
    save_file(content, path, {"gpstoken.cache": json.dumps(described)})
    with pytest.raises(ValueError, match=rf"shard-00000\.safetensors: expected labels 0 to 2, {said}"):
        TokenCache(str(root)).dataset("val")[0]
