"""The distribution of filled-in codes, summed over all that can happen in a few steps, and the network to go with it.

A known distribution of a few codes replaces the network: its conditionals are exact. The sampler is written out
again, as sums of probabilities: each way of drawing every masked code, and each way of choosing which stay.
"""

import itertools
import math

import torch
from torch import nn


class Exact(nn.Module):
    """The conditionals of a joint distribution float[classes, *(choices for each place)], as logits of each place.

    The last class is the hidden one. `offsets` are added to the logits of a place, which no probability shows.
    """

    def __init__(self, joint, offsets):
        super().__init__()
        self.register_buffer("joint", joint)
        self.offsets = offsets

    def forward(self, words, labels):
        """long[B, N] with any other word for a masked place, and long[B], to float64[B, N, choices]."""
        places, choices = words.shape[1], self.joint.shape[-1]
        weights = self.joint[labels]
        for place in range(places):
            one_hot = nn.functional.one_hot(words[:, place].clamp(max=choices - 1), choices).double()
            allowed = torch.where((words[:, place] < choices)[:, None], one_hot, 1.0)
            weights = weights * allowed.reshape(-1, *(choices if axis == place else 1 for axis in range(places)))
        marginals = [weights.sum([1 + other for other in range(places) if other != place]) for place in range(places)]
        return torch.stack(marginals, dim=1).log() + self.offsets[:, None]


def random_joint(classes, places, choices, seed=0):
    """Strongly dependent, every probability above 0; the hidden class is a distribution of its own."""
    chance = torch.Generator().manual_seed(seed)
    weights = (1.5 * torch.randn(classes + 1, choices**places, generator=chance, dtype=torch.float64)).exp()
    return (weights / weights.sum(1, keepdim=True)).reshape(classes + 1, *[choices] * places)


def conditionals(joint, words, offsets):
    """Logits of each place by place: lists of `choices` numbers, for one class; None stands for a masked place."""
    places, choices = joint.dim(), joint.shape[0]
    found = []
    for place in range(places):
        sums = [0.0] * choices
        for cell in itertools.product(range(choices), repeat=places):
            if all(word is None or word == value for word, value in zip(words, cell, strict=True) if word is not None):
                sums[cell[place]] += float(joint[cell])
        found.append([math.log(value) + float(offsets[place]) if value else -math.inf for value in sums])
    return found


def shares(logits, temperature):
    """Probabilities of logits; at temperature 0 the largest."""
    if temperature == 0:
        return [float(value == max(logits)) for value in logits]
    highest = max(logits)
    weights = [math.exp((value - highest) / temperature) for value in logits]
    return [weight / sum(weights) for weight in weights]


def kept(confidences, count, temperature):
    """All sets of `count` places with the highest confidence plus Gumbel noise, and their probabilities.

    The place with the highest sum is drawn by the softmax of the confidences, the next from the rest, and so on.
    """
    if count == 0:
        return {frozenset(): 1.0}
    found = {}
    places = list(confidences)
    for place, share in zip(places, shares([confidences[each] for each in places], temperature), strict=True):
        rest = {each: value for each, value in confidences.items() if each != place}
        for others, probability in kept(rest, count - 1, temperature).items() if share else ():
            chosen = others | {place}
            found[chosen] = found.get(chosen, 0.0) + share * probability
    return found


def distribution(joint, unconditional, offsets, masked, guidance, temperatures, noise):
    """{codes: probability} of one class.

    Args:
        joint: float[choices, ...], the distribution of the class.
        unconditional: the same of the hidden class.
        offsets: see `Exact`.
        masked: number of places that are masked after each step, the last being 0.
        guidance: weight of each step.
        temperatures: of each step.
        noise: "confidence" or "codes".
    """
    states = {(None,) * joint.dim(): 1.0}
    for count, weight, temperature in zip(masked, guidance, temperatures, strict=True):
        after = {}
        for words, before in states.items():
            logits = conditionals(joint, words, offsets)
            if weight:
                free = conditionals(unconditional, words, offsets)
                logits = [
                    [
                        (1 + weight) * one - weight * other if one > -math.inf else one
                        for one, other in zip(*pair, strict=True)
                    ]
                    for pair in zip(logits, free, strict=True)
                ]
            places = [place for place, word in enumerate(words) if word is None]
            chances = [shares(logits[place], temperature if noise == "codes" else 1.0) for place in places]
            for drawn in itertools.product(range(joint.shape[0]), repeat=len(places)):
                probability = before * math.prod(chance[code] for chance, code in zip(chances, drawn, strict=True))
                if not probability:
                    continue
                codes = dict(zip(places, drawn, strict=True))
                if noise == "codes":
                    choices = kept({place: logits[place][codes[place]] for place in places}, len(places) - count, 0)
                else:
                    surety = {place: math.log(shares(logits[place], 1.0)[codes[place]]) for place in places}
                    choices = kept(surety, len(places) - count, temperature)
                for staying, share in choices.items():
                    state = tuple(codes[place] if place in staying else word for place, word in enumerate(words))
                    after[state] = after.get(state, 0.0) + probability * share
        states = after
    return states
