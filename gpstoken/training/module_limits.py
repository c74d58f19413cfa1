"""The limits of the arguments of the two Lightning modules."""

from gpstoken.limits import (
    Limit,
    above,
    at_least,
    below_one,
    between,
    each,
    flag,
    number,
    one_of,
    optional,
    text,
    texts_by_name,
)

ADAM: dict[str, Limit] = {"learning_rate": above(0), "betas": each(below_one(), 2)}

TOKENIZER_MODULE: dict[str, Limit] = {
    **ADAM,
    "perceptual_network": one_of("vgg16", "alexnet"),
    "perceptual_weights": text(),
    "perceptual_weight": number(0),
    "adversarial_start": optional(at_least(0)),
    "adversarial_weight": number(0),
    "discriminator_channels": at_least(1),
    "discriminator_levels": at_least(1, 16),
    "inception_weights": optional(text()),
    "inception_weight": number(0),
    "accumulate": at_least(1),
    "compile": flag(),
    "evaluation_networks": texts_by_name(),
    "schedule": one_of("constant", "cosine"),
    "warmup_steps": at_least(0),
    "gradient_clip": optional(above(0)),
    "token_range": optional(each(at_least(1), 2)),
    "weights": optional(text()),
    "multiply_adds": optional(above(0)),
}

GENERATOR_MODULE: dict[str, Limit] = {
    **ADAM,
    "weight_decay": number(0),
    "decay": between(0, 1),
    "compile": flag(),
}
