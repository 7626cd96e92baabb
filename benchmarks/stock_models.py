"""Stock architectures with their own initialisation, diagnosed as they come: docs/stock-models.md.

`python -m benchmarks.stock_models docs/stock-models.md` writes the page; without a file, to
standard output. torch, torchvision, timm and transformers must be installed; nothing is
downloaded, models are made with weights of their own drawing. A flag is a claim: for those that
are raised, `--evidence` trains with and without the fix (some ten minutes on one core).
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.diagnosis.report import Report
from fanin.torch import diagnose

CLASSES, SYMBOLS, TOKENS = 1000, 1000, 32


@dataclass(frozen=True)
class Stock:
    """One architecture, with a batch for it."""

    name: str
    library: str
    make: Callable[[], nn.Module]
    batch: Callable[[], tuple[Any, Tensor]]
    loss: str = "cross_entropy"


def pictures(examples: int = 8, side: int = 64, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(examples, 3, side, side, generator=draw)
    return x, torch.randint(classes, (examples,), generator=draw)


def tokens() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(SYMBOLS, (4, TOKENS), generator=draw)
    return x, torch.randint(SYMBOLS, (4, TOKENS), generator=draw)


def ids(decoder: bool = False) -> tuple[dict[str, Tensor], Tensor]:
    x, y = tokens()
    return {"input_ids": x, **({"decoder_input_ids": x} if decoder else {})}, y


def vision(name: str, **settings: Any) -> Stock:
    def make() -> nn.Module:
        return getattr(import_module("torchvision.models"), name)(weights=None, **settings)

    return Stock(name, "torchvision", make, pictures)


def image(name: str, side: int = 64, examples: int = 8, **settings: Any) -> Stock:
    def make() -> nn.Module:
        return import_module("timm").create_model(name, pretrained=False, **settings)

    return Stock(name, "timm", make, lambda: pictures(examples, side))


def language(title: str, model: str, config: str, decoder: bool = False, **settings: Any) -> Stock:
    def make() -> nn.Module:
        library = import_module("transformers")
        return getattr(library, model)(getattr(library, config)(**settings))

    return Stock(title, "transformers", make, lambda: ids(decoder))


SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "vocab_size": SYMBOLS,
    "max_position_embeddings": 64,
}


class Encoder(nn.Module):
    """PyTorch's own transformer, as its tutorials build it."""

    def __init__(
        self, norm_first: bool = False, layers: int = 4, width: int = 128, symbols: int = SYMBOLS
    ) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, batch_first=True, norm_first=norm_first
        )
        self.embedding = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, width))
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device)
        x = self.embedding(x) + self.position[:, :length]
        return self.head(self.encoder(x, mask=mask, is_causal=True))


class Translator(nn.Module):
    """`nn.Transformer` with a table of symbols and a head, shared by both sides."""

    def __init__(self, symbols: int = SYMBOLS, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, width))
        self.transformer = nn.Transformer(width, 4, 2, 2, 2 * width, batch_first=True)
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device)
        given = self.embedding(x) + self.position[:, :length]
        return self.head(self.transformer(given, given, tgt_mask=mask))


class UNet(nn.Module):
    """Two levels down and up again, with group normalisation; pictures to pictures."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.last = self._block(3, width), self._block(2 * width, width)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.middle = self._block(2 * width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.output = nn.Conv2d(width, 3, 1)

    def _block(self, given: int, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(given, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        below = self.up(self.middle(F.silu(self.down(x))))
        return self.output(self.last(torch.cat([x, below], 1)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 128)
        self.rnn = kind(128, 128, 2, batch_first=True)
        self.head = nn.Linear(128, SYMBOLS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0])


def images_to_images() -> tuple[Tensor, Tensor]:
    x, _ = pictures()
    return x, x.roll(1, 0)


STOCK = (
    vision("alexnet"),
    vision("vgg11"),
    vision("vgg11_bn"),
    vision("resnet18"),
    vision("resnet50"),
    vision("mobilenet_v2"),
    vision("mobilenet_v3_small"),
    vision("squeezenet1_1"),
    vision("shufflenet_v2_x0_5"),
    vision("densenet121"),
    vision("googlenet", init_weights=True, aux_logits=False),
    vision("efficientnet_b0"),
    vision("regnet_y_400mf"),
    vision("convnext_tiny"),
    image("resnet18"),
    image("convnext_atto"),
    image("convnextv2_atto"),
    image("vit_tiny_patch16_224", img_size=64),
    image("deit_tiny_patch16_224", img_size=64),
    image("swin_tiny_patch4_window7_224", 112, 4, img_size=112, depths=(1, 1, 2, 1)),
    image("mixer_s32_224", 224, 4),
    image("poolformer_s12"),
    image("nfnet_f0", 96, 4),
    image("levit_128s", 224, 4),
    image("coatnet_pico_rw_224", 224, 2),
    image("cait_xxs24_224", 224, 2),
    language(
        "GPT-2", "GPT2LMHeadModel", "GPT2Config", n_embd=128, n_layer=3, n_head=4,
        vocab_size=SYMBOLS, n_positions=64, bos_token_id=0, eos_token_id=0,
    ),
    language("BERT", "BertForMaskedLM", "BertConfig", **SMALL),
    language(
        "DistilBERT", "DistilBertForMaskedLM", "DistilBertConfig", dim=128, n_layers=3, n_heads=4,
        hidden_dim=256, vocab_size=SYMBOLS,
    ),
    language("ELECTRA", "ElectraForMaskedLM", "ElectraConfig", embedding_size=64, **SMALL),
    language("Llama", "LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2, **SMALL),
    language("Mistral", "MistralForCausalLM", "MistralConfig", num_key_value_heads=2, **SMALL),
    language("Qwen2", "Qwen2ForCausalLM", "Qwen2Config", num_key_value_heads=2, **SMALL),
    language(
        "Mixtral", "MixtralForCausalLM", "MixtralConfig", num_key_value_heads=2,
        num_local_experts=4, **SMALL,
    ),
    language("GPT-NeoX", "GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL),
    language(
        "T5", "T5ForConditionalGeneration", "T5Config", True, d_model=128, d_kv=32, d_ff=256,
        num_layers=3, num_heads=4, vocab_size=SYMBOLS,
    ),
    language(
        "BART", "BartForConditionalGeneration", "BartConfig", True, d_model=128, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=256, decoder_ffn_dim=256, vocab_size=SYMBOLS, max_position_embeddings=64,
    ),
    language(
        "Mamba", "MambaForCausalLM", "MambaConfig", hidden_size=64, num_hidden_layers=2,
        vocab_size=SYMBOLS, state_size=8,
    ),
    Stock("U-Net", "torch.nn", UNet, images_to_images, "mse"),
    Stock("LSTM, 2 layers", "torch.nn", lambda: Recurrent(nn.LSTM), tokens),
    Stock("GRU, 2 layers", "torch.nn", lambda: Recurrent(nn.GRU), tokens),
    Stock("TransformerEncoder, norm last", "torch.nn", Encoder, tokens),
    Stock("TransformerEncoder, norm first", "torch.nn", lambda: Encoder(True), tokens),
    Stock("Transformer", "torch.nn", Translator, tokens),
)  # fmt: skip


@dataclass
class Seen:
    """What came of one architecture over some seeds."""

    stock: Stock
    parameters: int
    layers: int
    verdicts: list[str] = field(default_factory=list[str])
    flags: dict[str, int] = field(default_factory=dict[str, int])
    diagnosis: float = 0.0
    plain: float = 0.0
    first: Report | None = None


def look(stock: Stock, seeds: int) -> Seen:
    seen: Seen | None = None
    for seed in range(seeds):
        torch.manual_seed(seed)
        module, (inputs, targets) = stock.make(), stock.batch()
        plain = pass_time(module, inputs, targets, stock.loss)
        began = time.process_time()
        report = diagnose(module, inputs, targets, stock.loss)
        took = time.process_time() - began
        if seen is None:
            count = sum(each.numel() for each in module.parameters())
            seen = Seen(stock, count, len(report.recording.layers), diagnosis=took, plain=plain)
        seen.diagnosis, seen.plain = min(seen.diagnosis, took), min(seen.plain, plain)
        seen.verdicts.append(report.verdict)
        for check in report.checks:
            if check.verdict != "good":
                key = f"{check.verdict}: {check.name}"
                seen.flags[key] = seen.flags.get(key, 0) + 1
                seen.first = seen.first or report
    assert seen is not None
    return seen


def pass_time(module: nn.Module, inputs: Any, targets: Tensor, loss: str) -> float:
    """Processor seconds of a plain forward and backward pass, the second one."""
    took = 0.0
    for _ in range(2):
        module.zero_grad()
        began = time.process_time()
        result = module(**inputs) if isinstance(inputs, dict) else module(inputs)
        output = result if isinstance(result, Tensor) else result.logits
        if loss == "mse":
            F.mse_loss(output, targets).backward()
        else:
            F.cross_entropy(output.flatten(0, -2), targets.flatten()).backward()
        took = time.process_time() - began
    module.zero_grad()
    return took


def table(found: list[Seen], seeds: int) -> str:
    rows = [
        "| architecture | from | parameters | layers | verdict | flagged | pass | diagnosis |",
        "|---|---|---:|---:|---|---|---:|---:|",
    ]
    for seen in found:
        counts = [f"{seen.verdicts.count(v)} {v}" for v in ("bad", "suspect", "good")]
        verdict = ", ".join(each for each in counts if not each.startswith("0"))
        flags = ", ".join(f"{name} ({n} of {seeds})" for name, n in seen.flags.items()) or "nothing"
        rows.append(
            f"| {seen.stock.name} | {seen.stock.library} | {seen.parameters:,} | {seen.layers} | "
            f"{verdict} | {flags} | {seen.plain:.2f} s | {seen.diagnosis:.2f} s |"
        )
    return "\n".join(rows)


def install_torchvision() -> None:
    """torchvision's compiled operators may be of another build than torch: its models need none."""
    try:
        import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_module("torchvision")
        _KEPT.append(library)


_KEPT: list[Any] = []

HEAD = """# Stock architectures, as they come

What `fanin.torch.diagnose` says of {count} architectures with the weights that their own libraries
draw, unmodified. Small configurations, random inputs, targets drawn evenly; {seeds} seeds each.
Times are processor seconds on one thread, the best of the seeds.

Made by `python -m benchmarks.stock_models docs/stock-models.md --evidence`, with {versions}.

"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", nargs="?", type=Path)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--only", nargs="*", default=[])
    options.add_argument("--evidence", action="store_true")
    asked = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    install_torchvision()
    chosen = [stock for stock in STOCK if not asked.only or stock.name in asked.only]
    found = [look(stock, asked.seeds) for stock in chosen]
    names = ("torch", "torchvision", "timm", "transformers")
    page = HEAD.format(
        count=len(found),
        seeds=asked.seeds,
        versions=", ".join(f"{name} {version(name)}" for name in names),
    )
    page += table(found, asked.seeds) + "\n"
    page += said(found)
    if asked.evidence:
        from benchmarks.copied_layers import evidence

        page += "\n" + evidence()
    if asked.file is None:
        print(page)
    else:
        asked.file.write_text(page)


def said(found: list[Seen]) -> str:
    """What the flags say, once each."""
    lines = ["\n## What was flagged\n"]
    for seen in found:
        if seen.first is None:
            continue
        lines += [
            f"- **{seen.stock.name}**, {check.name}, {check.verdict}: {check.text}"
            for check in seen.first.checks
            if check.verdict != "good"
        ]
    return "\n".join(lines if len(lines) > 1 else [*lines, "Nothing."]) + "\n"


if __name__ == "__main__":
    main()
