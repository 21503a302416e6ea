"""A Q-network in PyTorch for the night and the online learner: the worked example of docs/user-policy.md."""

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from janus_memory.policy.factory import PolicySpec
from janus_memory.policy.protocol import Batch

F4 = NDArray[np.float32]


class TorchQ:
    """Q(s, a) for discrete actions with a target network, on the Huber loss of the TD error."""

    def __init__(self, spec: PolicySpec, seed: int) -> None:
        settings, width = spec.settings, 64
        with torch.random.fork_rng(devices=[]):  # torch's global generator stays as it was
            torch.manual_seed(seed)
            self.online = torch.nn.Sequential(
                torch.nn.Linear(spec.market.state_size, width),
                torch.nn.ReLU(),
                torch.nn.Linear(width, spec.market.action_size),
            )
        self.target = copy.deepcopy(self.online)
        self.settings = settings
        if spec.speed == "fast":
            self.optimiser = torch.optim.Adam(self.online.parameters(), settings.learning_rate)
        else:  # the night's gates scale the slow copy's gradient; Adam would undo that
            self.optimiser = torch.optim.SGD(self.online.parameters(), settings.eta_sleep)

    def td_errors(self, batch: Batch) -> F4:
        """With the online network on both sides."""
        with torch.no_grad():
            delta: F4 = self._delta(batch, self.online).numpy()
        return delta

    def update(self, batch: Batch, weights: F4) -> F4:
        """One step of the optimiser, one Polyak step of the target."""
        delta = self._delta(batch, self.target)
        loss = functional.huber_loss(delta, torch.zeros_like(delta), reduction="none")
        self.optimiser.zero_grad()
        (torch.from_numpy(weights) * loss).mean().backward()
        self.optimiser.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, self.settings.polyak)
        told: F4 = loss.detach().numpy()
        return told

    def action_distribution(self, states: F4) -> F4:
        """Softmax of Q."""
        with torch.no_grad():
            q = self.online(torch.from_numpy(states))
            share: F4 = torch.softmax(q / self.settings.temperature, dim=1).numpy()
        return share

    def save(self, path: Path) -> None:
        """Both networks and the optimiser's state: what is left out here is forgotten at each checkpoint."""
        tensors = {f"online/{name}": value for name, value in self.online.state_dict().items()}
        tensors |= {f"target/{name}": value for name, value in self.target.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{name}": value for name, value in state.items()}
        save_file(tensors, path)

    def load(self, path: Path) -> None:
        """The inverse of `save`."""
        tensors, state = load_file(path), dict[int, dict[str, torch.Tensor]]()
        for network in ("online", "target"):
            part = {
                k.removeprefix(f"{network}/"): v for k, v in tensors.items() if k.startswith(f"{network}/")
            }
            getattr(self, network).load_state_dict(part)
        for key in (key for key in tensors if key.startswith("optimiser/")):
            _, number, name = key.split("/")
            state.setdefault(int(number), {})[name] = tensors[key]
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})

    def _delta(self, batch: Batch, judge: torch.nn.Module) -> torch.Tensor:
        """Reward + gamma * what follows - Q(s, a); what follows is the best action's where the next is not known."""
        action, then = torch.from_numpy(batch.action).long(), torch.from_numpy(batch.next_action).long()
        with torch.no_grad():
            q = judge(torch.from_numpy(batch.next_state))
            known = q.gather(1, then.clamp(min=0)[:, None])[:, 0]
            value = torch.where(then >= 0, known, q.max(dim=1).values) * torch.from_numpy(batch.done == 0)
        taken = self.online(torch.from_numpy(batch.state)).gather(1, action[:, None])[:, 0]
        return torch.from_numpy(batch.reward) + self.settings.gamma * value - taken
