"""The networks to train: shapes of well-known ones, with random weights and synthetic data."""

from __future__ import annotations

import importlib
from typing import Any


def vgg16(torch: Any) -> tuple[Any, Any]:
    """VGG16 as (frozen body up to 4096 features, trained head): the fine-tuning of cats and dogs."""
    nn = torch.nn
    layers: list[Any] = []
    channels = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *dense), nn.Linear(4096, 2)


def resnet50(torch: Any) -> Any:
    """ResNet-50 (the variant that strides in its 3x3 convolutions), 1000 classes."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, enter: int, width: int, stride: int) -> None:
            super().__init__()

            def unit(i: int, o: int, size: int, step: int = 1) -> Any:
                return nn.Sequential(
                    nn.Conv2d(i, o, size, step, size // 2, bias=False),
                    nn.BatchNorm2d(o),
                    nn.ReLU(inplace=True),
                )

            self.main = nn.Sequential(
                unit(enter, width, 1), unit(width, width, 3, stride), unit(width, 4 * width, 1)[:2]
            )
            self.skip = nn.Identity() if enter == 4 * width else unit(enter, 4 * width, 1, stride)[:2]

        def forward(self, x: Any) -> Any:
            return torch.relu_(self.main(x) + self.skip(x))

    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    enter = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for n in range(count):
            layers.append(Block(enter, width, stride if n == 0 else 1))
            enter = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def gpt2(torch: Any, length: int) -> Any:
    """The shape of GPT-2 small: 12 layers of 768, 12 heads, 50257 tokens, tied embedding."""
    nn = torch.nn
    width, heads, vocabulary = 768, 12, 50257

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            three = self.mix(self.before(x)).view(batch, tokens, 3, heads, width // heads)
            query, key, value = three.permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.dense(self.between(x))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(12)])
            self.last = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.last(self.blocks(self.words(tokens) + self.places(places)))
            return nn.functional.linear(x, self.words.weight)

    return Model()


class Training:
    """One network being trained on synthetic data at one precision: `step(batch)` is one optimiser step."""

    def __init__(self, torch: Any, name: str, device: str, precision: str) -> None:
        self.torch, self.name, self.device, self.precision = torch, name, device, precision
        torch.manual_seed(0)
        self.length = 1024 if device == "cuda" else 256
        self.body = None
        if name == "vgg16-head":
            self.body, self.net = vgg16(torch)
            self.body = self.body.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
            self.classes, self.mode = 2, "last dense layer trained, body frozen"
        elif name == "resnet50":
            self.net, self.classes, self.mode = resnet50(torch), 1000, "full training"
        else:
            self.net, self.classes, self.mode = gpt2(torch, self.length), 50257, "full training"
        self.images = name != "gpt2"
        self.net = self.net.to(device)
        if name == "resnet50":
            self.net = self.net.to(memory_format=torch.channels_last)
        make = torch.optim.SGD if self.images else torch.optim.AdamW
        self.optimiser = make(self.net.parameters(), lr=1e-3)
        self.half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self.batch, self.data = 0, (None, None)
        self.loss: Any = None

    def items(self, batch: int) -> int:
        return batch if self.images else batch * self.length

    def step(self, batch: int) -> None:
        torch = self.torch
        if batch != self.batch:
            self.data = (None, None)
            shape = (batch, 3, 224, 224) if self.images else (batch, self.length)
            if self.images:
                x = torch.randn(shape, device=self.device).contiguous(memory_format=torch.channels_last)
                y = torch.randint(self.classes, (batch,), device=self.device)
            else:
                x = torch.randint(self.classes, shape, device=self.device)
                y = torch.randint(self.classes, (batch * self.length,), device=self.device)
            self.data, self.batch = (x, y), batch
        x, y = self.data
        with torch.autocast(self.device, dtype=self.half, enabled=self.half is not None):
            if self.body is not None:
                with torch.no_grad():
                    x = self.body(x)
            self.loss = torch.nn.functional.cross_entropy(self.net(x).reshape(-1, self.classes), y)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(self.loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def flops_per_item(self) -> float:
        """Multiplications and additions per item of a training step, counted by torch in one small step."""
        counter = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
        with counter:
            self.step(1)
        return float(counter.get_total_flops()) / self.items(1)
