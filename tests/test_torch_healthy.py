"""A line in a project's tests, and callbacks of the libraries that train."""

import importlib
import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fanin.torch import UnhealthyWarning, assert_healthy

X = torch.randn(128, 12, generator=torch.Generator().manual_seed(0))
Y = torch.arange(128) % 5


def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of itself and of this machine
        pl = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
        importlib.import_module("fanin.torch.lightning")
    return pl


def mlp(factor=1.0):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, 5))
    with torch.no_grad():
        module[2].weight.mul_(factor)
    return module


def test_a_healthy_module_passes_and_gives_its_report():
    assert assert_healthy(mlp(), X, Y).verdict == "good"


def test_an_unhealthy_one_fails_with_the_head_of_the_report():
    with pytest.raises(AssertionError) as raised:
        assert_healthy(mlp(60.0), X, Y)
    lines = str(raised.value).splitlines()
    assert lines[0] == (
        "Sequential (1,157 parameters, in training mode) is bad before its first step"
    )
    assert any(line.startswith("bad: logits: The logits differ by") for line in lines)
    assert "    in 2" in lines
    assert any(line.startswith("mend 2.weight: × 0.00") for line in lines)


def test_what_is_only_suspect_warns_unless_it_is_asked_to_fail():
    module = mlp(10.0)
    with pytest.warns(UnhealthyWarning, match="is suspect"):
        assert_healthy(module, X, Y)
    with pytest.raises(AssertionError, match="is suspect"):
        assert_healthy(module, X, Y, fail_on="suspect")


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "good"), (60.0, "bad")])
def test_lightning_diagnoses_at_the_first_batch(factor, verdict, tmp_path):
    pl = lightning()
    from fanin.torch.lightning import StepZero

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.losses = mlp(factor), []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            self.losses.append(loss := F.cross_entropy(self(batch[0]), batch[1]))
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    def trained(*callbacks):
        torch.manual_seed(0)
        model = Model()
        trainer = pl.Trainer(
            max_steps=2, accelerator="cpu", callbacks=list(callbacks), logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(model, DataLoader(TensorDataset(X, Y), 64, shuffle=True))
        return [float(loss) for loss in model.losses]

    callback = StepZero()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with_it, without = trained(callback), trained()
    said = [each for each in caught if issubclass(each.category, UnhealthyWarning)]
    assert callback.report.verdict == verdict
    assert len(said) == (verdict != "good")
    assert with_it == without
    assert callback.report.loss == pytest.approx(without[0], rel=1e-5)


def test_lightning_is_told_of_a_batch_that_cannot_be_told_apart():
    pl = lightning()
    from fanin.torch.lightning import StepZero

    callback = StepZero()
    trainer = pl.Trainer(accelerator="cpu", barebones=True)
    with pytest.warns(UserWarning, match="the batch is a dict.*Give StepZero"):
        callback.on_train_batch_start(trainer, pl.LightningModule(), {"x": X, "y": Y}, 0)
    assert callback.report is None


def test_lightning_trains_on_where_no_diagnosis_can_be_made(tmp_path):
    pl = lightning()
    from fanin.torch.lightning import StepZero

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = mlp(1.0)

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return F.cross_entropy(self(batch[0]), batch[1] % 4)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    callback = StepZero()
    trainer = pl.Trainer(
        max_steps=3, accelerator="cpu", callbacks=[callback], logger=False,
        accumulate_grad_batches=2, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Model(), DataLoader(TensorDataset(X, Y + 400), 32))
    (said,) = [str(each.message) for each in caught if "StepZero" in str(each.message)]
    assert said.startswith("StepZero could not diagnose the module: targets are the classes")
    assert trainer.global_step == 3
    assert callback.report is None


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "good"), (3_000.0, "bad")])
def test_the_trainer_of_transformers_diagnoses_at_the_first_batch(factor, verdict, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("accelerate", reason="accelerate is not installed")
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        from fanin.torch.transformers import StepZero

    def trained(*callbacks):
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
        with torch.no_grad():
            model.transformer.ln_f.weight.mul_(factor)
        symbols = torch.randint(50, (16, 12), generator=torch.Generator().manual_seed(1))
        rows = [{"input_ids": row, "labels": row} for row in symbols]
        arguments = transformers.TrainingArguments(
            output_dir=tmp_path, max_steps=2, per_device_train_batch_size=8, use_cpu=True,
            report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=rows, callbacks=list(callbacks)
        )
        trainer.train()
        return [each["loss"] for each in trainer.state.log_history if "loss" in each]

    callback = StepZero()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with_it, without = trained(callback), trained()
    said = [each for each in caught if issubclass(each.category, UnhealthyWarning)]
    assert callback.report.verdict == verdict
    assert len(said) == (verdict != "good")
    assert with_it == without
    assert callback.report.expected_loss == pytest.approx(3.912, abs=1e-3)
    assert callback.report.loss == pytest.approx(without[0], rel=1e-3)
