"""Other contrastive losses than the published one, for the ablation."""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize

import bleep_sc as bs
from bleep_sc.training.chunks import embed_in_chunks

SIMILAR = 0.1
"""Temperature of targets that are cosines of features and of expression."""


def soft(image: Tensor, expression: Tensor, temperature: float, *, detached: bool, normalised: bool) -> Tensor:
    """Return the loss with targets that pass no gradients on, or whose columns sum to one for the images, too."""
    similarity = (expression @ expression.T + image @ image.T) / 2 / temperature
    similarity = similarity.detach() if detached else similarity
    targets = torch.softmax(similarity, dim=1)
    of_images = torch.softmax(similarity.T, dim=1) if normalised else targets.T
    return _towards(targets, of_images, expression @ image.T / temperature)


def cosine(image: Tensor, expression: Tensor, temperature: float) -> Tensor:
    """Return the loss of embeddings of norm one."""
    return bs.models.bleep_loss(normalize(image), normalize(expression), temperature)


class Learned:
    """The published loss with a temperature that is trained along, from where it starts, as CLIP's is."""

    def __init__(self) -> None:
        self.logarithm: Tensor | None = None

    def __call__(self, image: Tensor, expression: Tensor, temperature: float) -> Tensor:
        """Return the loss; the backward pass takes a step of the temperature."""
        if self.logarithm is None:
            self.logarithm = torch.tensor(temperature).log().requires_grad_()
            self.optimizer = torch.optim.AdamW([self.logarithm], lr=1e-3, weight_decay=0)
            self.logarithm.register_post_accumulate_grad_hook(self._step)
        return bs.models.bleep_loss(image, expression, self.logarithm.exp())

    def _step(self, _: Tensor) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()


class FromInputs:
    """Targets are the similarities of what enters the heads, image features and expression, which are not trained."""

    def embed(self, model: torch.nn.Module, images: Tensor, expression: Tensor, n_chunks: int) -> tuple[Tensor, Tensor]:
        """Embed a batch, and remember its inputs."""
        inputs = (normalize(layer_norm(each, each.shape[1:])) for each in (images, expression))
        self.similarity = torch.stack([each @ each.T for each in inputs]).mean(dim=0) / SIMILAR
        return embed_in_chunks(model, images, expression, n_chunks)

    def __call__(self, image: Tensor, expression: Tensor, temperature: float) -> Tensor:
        """Return the loss of a batch that was embedded last."""
        targets = torch.softmax(self.similarity, dim=1)
        return _towards(targets, targets, expression @ image.T / temperature)


def _towards(targets: Tensor, of_images: Tensor, logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of rows and columns of the logits (B, B) with their targets."""
    from_expression = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
    from_image = -(of_images * torch.log_softmax(logits.T, dim=1)).sum(dim=1)
    return (from_expression + from_image).mean() / 2
