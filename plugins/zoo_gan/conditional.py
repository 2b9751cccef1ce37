"""How a condition enters both networks of a game, as a vector: of a class, or of a caption.

The generator reads it beside its latent. The critic reads it in one of two ways: concatenated to an image's
features before a joint hidden layer (Mirza and Osindero 2014, arXiv:1411.1784, section 3.2; Reed et al. 2016,
arXiv:1605.05396, section 4.1), or as a projection, an inner product with the features (Miyato and Koyama
2018, arXiv:1802.05637, Eq. 3).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from zoo_core.errors import UsageError
from zoo_core.nn.conditioning import ConditionEmbedding
from zoo_core.types import Cond, DataInfo
from zoo_gan.networks import NetworksModel, build_critic, build_generator, spectrally_normalized

Joint = Literal["concat", "projection"]


class ClassEmbedding(nn.Module):
    """Labels to vectors (n, width): the columns of a linear map of the one-hot label.

    Args:
        classes: number of classes.
        width: of a vector.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes, width)

    def forward(self, cond: Cond | None) -> Tensor:
        if cond is None or cond.label is None:
            raise UsageError("a class-conditional model was given no labels", "expected: cond.label, (n,)")
        return self.table(cond.label)


class CaptionEmbedding(nn.Module):
    """Captions to vectors (n, width): a transformer over their words, averaged.

    Args:
        vocabulary: number of tokens, padding included.
        width: of a vector, a multiple of 4.
        layers: of the transformer.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.words = ConditionEmbedding(0, vocabulary, width, layers)

    def forward(self, cond: Cond | None) -> Tensor:
        if cond is None or cond.tokens is None:
            raise UsageError("a text-conditional model was given no captions", "expected: cond.tokens")
        blank = torch.zeros(len(cond.tokens), self.width, device=cond.tokens.device)
        vector, _ = self.words(cond, blank)
        return vector


class ConditionedGenerator(nn.Module):
    """A generator that reads its condition beside its latent.

    Args:
        model: options of the network.
        data: description of the data.
        embedding: conditions to vectors.
        width: of those vectors.
    """

    def __init__(self, model: NetworksModel, data: DataInfo, embedding: nn.Module, width: int) -> None:
        super().__init__()
        self.latent_shape = (model.latent_dim,)
        self.embedding = embedding
        self.net = build_generator(model, data.shape, model.latent_dim + width)

    def forward(self, z: Tensor, cond: Cond | None = None) -> Tensor:
        return self.given(z, self.embedding(cond))

    def given(self, z: Tensor, vector: Tensor) -> Tensor:
        """Return examples (n, *shape) of latents and of vectors of conditions, (n, width)."""
        return self.net(torch.cat((z, vector), 1))


class ConditionedCritic(nn.Module):
    """A critic of examples and conditions: whether they are real and match.

    Args:
        model: options of the network; with spectral norm, embedding and joint layers have it too.
        data: description of the data.
        embedding: conditions to vectors.
        width: of those vectors.
        joint: how vector and features are combined.
        hidden: width of the joint layer of "concat".
    """

    def __init__(
        self,
        model: NetworksModel,
        data: DataInfo,
        embedding: nn.Module,
        width: int,
        joint: Joint,
        hidden: int,
    ) -> None:
        super().__init__()
        self.joint = joint
        self.net = build_critic(model, data.shape)
        features = self.net.feature_dim
        added = [embedding]
        if joint == "concat":
            layers = [nn.Linear(features + width, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)]
            self.net.head = nn.Sequential(*layers)  # type: ignore[assignment]
            added.append(self.net.head)
        else:
            self.projection = nn.Linear(width, features, bias=False)
            added.append(self.projection)
        self.embedding = embedding
        if model.spectral_norm:
            for module in added:
                spectrally_normalized(module)

    def forward(self, x: Tensor, cond: Cond | None = None) -> Tensor:
        return self.given(x, self.embedding(cond))

    def given(self, x: Tensor, vector: Tensor) -> Tensor:
        """Return the scores (n,) of examples and of vectors of conditions, (n, width)."""
        features = self.net.features(x)
        if self.joint == "concat":
            return self.net.head(torch.cat((features, vector), 1)).squeeze(1)
        return self.net.head(features).squeeze(1) + (features * self.projection(vector)).sum(1)
