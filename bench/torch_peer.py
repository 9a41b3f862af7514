"""The same rows as `hsr-gpu bench`, in PyTorch written with care.

Care means: one patch at a time so that intermediates stay in cache, no gradient through the high-resolution pass,
the PSF applied block by block as a matrix product, members as batched products, fused or foreach Adam.
Prints JSON rows with the fields of `hsr-gpu bench --json`.

    python bench/torch_peer.py --threads 2 [--device cpu|cuda] [--only NAME] [--compile]
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn.functional import leaky_relu, relu

BANDS, MSI, SCALE = 31, 3, 32
LEAST_TIME, LEAST_RUNS, MOST_RUNS = 1.0, 5, 200


class Network(torch.nn.Module):
    """Encoder with the MSI pixel concatenated before layers 2 to 5, two decoders."""

    def __init__(self):
        super().__init__()
        widths = [4, 8, 16, 24, 16]
        inputs = [MSI] + [w + MSI for w in widths[:-1]]
        self.encoder = torch.nn.ModuleList(torch.nn.Linear(i, o) for i, o in zip(inputs, widths))
        self.mean = torch.nn.ModuleList([torch.nn.Linear(16, 24), torch.nn.Linear(24, BANDS)])
        self.std = torch.nn.ModuleList([torch.nn.Linear(16, 24), torch.nn.Linear(24, BANDS)])

    def encode(self, y):
        a = leaky_relu(self.encoder[0](y), 0.2)
        for layer in self.encoder[1:]:
            a = leaky_relu(layer(torch.cat((a, y), -1)), 0.2)
        return a

    @staticmethod
    def decode(layers, a):
        return relu(layers[1](leaky_relu(layers[0](a), 0.2)))

    def forward(self, y):
        a = self.encode(y)
        return self.decode(self.mean, a), self.decode(self.std, a)


class Degradation(torch.nn.Module):
    """Gaussian PSF of three parameters and SRF of four Gaussians a column."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor([4 / SCALE, 0.0, 4 / SCALE]))
        self.means = torch.nn.Parameter((torch.arange(4.0 * MSI) + 0.5).reshape(MSI, 4) * BANDS / (4 * MSI))
        self.widths = torch.nn.Parameter(torch.full((MSI, 4), 1 + BANDS / 12))
        offset = torch.arange(SCALE) - SCALE // 2
        rows, columns = torch.meshgrid(offset, offset, indexing="ij")
        self.register_buffer("rows", rows.reshape(-1).float())
        self.register_buffer("columns", columns.reshape(-1).float())
        self.register_buffer("bands", torch.arange(BANDS).float()[:, None, None])

    def psf(self):
        m00, m10, m11 = self.factor
        u, v = m00 * self.rows, m10 * self.rows + m11 * self.columns
        g = torch.exp(-0.5 * (u * u + v * v))
        return g / g.sum()

    def srf(self):
        r = torch.exp(-0.5 * ((self.bands - self.means) / self.widths) ** 2).sum(-1)
        return r / r.sum(0)


def adam(parameters, device):
    return torch.optim.Adam(list(parameters), lr=1e-3, fused=True if device == "cuda" else None, foreach=None)


def train_step(device, wrap):
    patches, pixels = 32, 16
    y = torch.rand(patches, pixels, SCALE * SCALE, MSI, device=device)
    x = torch.rand(patches, pixels, BANDS, device=device)
    network, theta = Network().to(device), Degradation().to(device)
    to_network, to_theta = adam(network.parameters(), device), adam(theta.parameters(), device)
    # A GPU has room for the whole batch; a CPU's cache has it for one patch.
    groups = [slice(0, patches)] if device == "cuda" else [slice(p, p + 1) for p in range(patches)]

    @wrap
    def sample(pixel):
        mean, std = network(pixel)
        return mean + std * torch.randn_like(mean)

    def step():
        with torch.no_grad():
            held = theta.psf()
        lr_msi = torch.einsum("k,npkb->npb", held, y)
        to_network.zero_grad()
        (0.5 * (sample(lr_msi) - x).abs().mean()).backward()

        psf, srf = theta.psf(), theta.srf()
        # Gradients of the two terms on Ẑ are gathered group by group: Ẑ itself is never kept.
        to_theta.zero_grad()
        held_psf, held_srf = psf.detach().requires_grad_(), srf.detach().requires_grad_()
        for group in groups:
            with torch.no_grad():
                z = sample(y[group].reshape(-1, MSI)).reshape(-1, SCALE * SCALE, BANDS)
            blurred = torch.matmul(held_psf, z)
            term1 = (x[group].reshape(-1, BANDS) - blurred).abs().sum() / x.numel()
            term2 = (y[group].reshape(-1, SCALE * SCALE, MSI) - torch.matmul(z, held_srf)).abs().sum() / y.numel()
            (0.5 * term1 + 0.2 * term2).backward()
        term3 = 0.2 * (torch.matmul(x, srf) - torch.einsum("k,npkb->npb", psf, y)).abs().mean()
        torch.autograd.backward([term3, psf, srf], [None, held_psf.grad, held_srf.grad])
        to_network.step()
        to_theta.step()

    return step, dict(lr_pixels=patches * pixels, hr_pixels=patches * pixels * SCALE * SCALE)


def finetune_step(device, wrap):
    n = 256
    network = Network().to(device)
    x = torch.rand(n, BANDS, device=device)
    with torch.no_grad():
        abundance = network.encode(torch.rand(n, MSI, device=device))
    decoders = list(network.mean.parameters()) + list(network.std.parameters())
    optimiser = adam(decoders, device)

    @wrap
    def loss():
        mean = network.decode(network.mean, abundance)
        std = network.decode(network.std, abundance)
        return 0.5 * (mean + std * torch.randn_like(mean) - x).abs().mean()

    def step():
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step, dict(lr_pixels=n)


def reconstruct(device, wrap):
    side = 512
    network = Network().to(device)
    y = torch.rand(side * side, MSI, device=device)
    out = torch.empty(side * side, BANDS, device=device)
    tile = side * side if device == "cuda" else 8192

    @wrap
    def mean(pixel):
        return network.decode(network.mean, network.encode(pixel))

    def step():
        with torch.no_grad():
            for first in range(0, side * side, tile):
                out[first : first + tile] = mean(y[first : first + tile])

    return step, dict(hr_pixels=side * side)


def member_step(n):
    def build(device, wrap):
        members, width, layers = 8, 24, 6
        inputs = [MSI] + [width + MSI] * (layers - 1) + [width]
        outputs = [width] * layers + [BANDS]
        weights = [
            torch.nn.Parameter((torch.rand(members, i, o, device=device) - 0.5) / i**0.5)
            for i, o in zip(inputs, outputs)
        ]
        biases = [torch.nn.Parameter(torch.zeros(members, 1, o, device=device)) for o in outputs]
        y = torch.rand(members, n, MSI, device=device)
        x = torch.rand(n, BANDS, device=device)
        optimiser = adam(weights + biases, device)

        @wrap
        def loss():
            a = leaky_relu(torch.baddbmm(biases[0], y, weights[0]), 0.3)
            for k in range(1, layers):
                a = leaky_relu(torch.baddbmm(biases[k], torch.cat((a, y), -1), weights[k]), 0.3)
            z = torch.baddbmm(biases[-1], a, weights[-1])
            return 0.5 * (z - x).abs().mean((1, 2)).sum()

        def step():
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

        return step, dict(lr_pixels=n, members=members)

    return build


ROWS = [
    ("train_step", "cave", train_step),
    ("finetune_step", "cave", finetune_step),
    ("reconstruct", "cave", reconstruct),
    ("member_step", "members", member_step(64)),
    ("member_step", "members", member_step(256)),
    ("member_step", "members", member_step(1024)),
]


def measure(step, device):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    wait()
    # As many steps a run as fit into 20 ms, waited for at the end: as `hsr-gpu bench` queues them.
    one = time.perf_counter()
    step()
    wait()
    count = max(1, min(64, int(0.02 / (time.perf_counter() - one))))
    seconds, begin = [], time.perf_counter()
    while len(seconds) < LEAST_RUNS or (time.perf_counter() - begin < LEAST_TIME and len(seconds) < MOST_RUNS):
        run = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        seconds.append((time.perf_counter() - run) / count)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--compile", action="store_true", help="torch.compile the forwards")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    wrap = torch.compile if arguments.compile else lambda f: f
    rows = []
    for name, preset, build in ROWS:
        if arguments.only and name not in arguments.only:
            continue
        step, sizes = build(arguments.device, wrap)
        seconds = measure(step, arguments.device)
        rows.append(
            dict(
                name=name,
                preset=preset,
                bands=BANDS,
                msi_bands=MSI,
                scale=SCALE,
                members=sizes.pop("members", 1),
                **sizes,
                seconds=statistics.median(seconds),
                least_seconds=min(seconds),
                runs=len(seconds),
                backend="torch" + ("-compile" if arguments.compile else ""),
                adapter=torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU",
                threads=arguments.threads,
                precision="f32",
            )
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
