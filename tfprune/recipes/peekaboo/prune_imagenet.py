"""The first stage on ImageNet: masks and initial weights in a file."""

from tfprune.masks import Ticket
from tfprune.recipes.open_images import open_images
from tfprune.recipes.peekaboo.imagenet_config import PruneImageNetConfig
from tfprune.recipes.peekaboo.pipeline import initial_model, origin
from tfprune.recipes.peekaboo.pruning_stage import find_masks


def run(config: PruneImageNetConfig) -> Ticket:
    """Prunes a network before its training, as the settings say.

    Args:
        config: The settings.

    Returns:
        What was written to the file.

    Raises:
        TfpruneError: Something the user can mend: settings, data, files.

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_imagenet_prune.py`.
    """
    stage = config.training()
    data = open_images(stage)
    model = initial_model(stage, data)
    masks = find_masks(stage, model, data, config.density)
    ticket = Ticket.from_model(masks, model, **origin(stage, data))
    ticket.save(config.out)
    print(masks.table())
    for note in data.notes():
        print(note)
    print(f"masks and initial weights of {config.arch} in {config.out}")
    return ticket
