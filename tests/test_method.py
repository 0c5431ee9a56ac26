"""Texts of methods with settings: one notation and one wording for all that have such a text."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from kitbox.errors import KitboxError
from kitbox.fusion import fusion_method
from kitbox.keypoints import match_settings
from kitbox.method import Method, parse_method
from kitbox.retrieval import balance, rerankers


class Dish(Method):
    noun: ClassVar[str] = "dish"


class Soup(Dish):
    kind: ClassVar[str] = "soup"
    written_as: ClassVar[Mapping[str, str]] = {"taste": "lambda"}

    plates: int = Field(default=2, ge=1)
    taste: float = Field(default=1.5, gt=0)
    like: Literal["hot", "cold"] = "hot"
    cook: str | None = None


class Rice(Dish):
    kind: ClassVar[str] = "rice"
    order: ClassVar[tuple[str, ...]] = ("salt", "grains")

    grains: int | None = None
    salt: float = 0.0


DISHES: Mapping[str, type[Dish]] = {"soup": Soup, "rice": Rice}


@pytest.mark.parametrize(
    ("text", "method", "canonical"),
    [
        ("soup", Soup(), "soup:plates=2,lambda=1.5,like=hot"),
        (" soup : like = cold , plates=3", Soup(plates=3, like="cold"),
         "soup:plates=3,lambda=1.5,like=cold"),
        ("soup:lambda=2.0,cook=a=b", Soup(taste=2, cook="a=b"),
         "soup:plates=2,lambda=2,like=hot,cook=a=b"),
        ("soup:lambda=.30000000000000004", Soup(taste=0.30000000000000004),
         "soup:plates=2,lambda=0.30000000000000004,like=hot"),
        ("rice", Rice(), "rice:salt=0"),
        ("rice:grains=1e3", Rice(grains=1000), "rice:salt=0,grains=1000"),
    ],
)  # fmt: skip
def test_a_text_names_a_method_and_what_differs_from_its_defaults(
    text: str, method: Dish, canonical: str
) -> None:
    found = parse_method(text, DISHES)
    assert (found, type(found)) == (method, type(method))
    assert str(found) == canonical
    assert parse_method(canonical, DISHES) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("soop", "there is no dish 'soop'; did you mean soup?"),
        ("", "there is no dish ''; there are soup, rice"),
        ("soup:plate=3", "the dish 'soup:plate=3': soup has no setting 'plate'; did you mean "
                         "plates?"),
        ("rice:x=3", "the dish 'rice:x=3': rice has no setting 'x'; it has salt, grains"),
        ("soup:taste=3", "the dish 'soup:taste=3': soup has no setting 'taste'; it has plates, "
                         "lambda, like, cook"),
        ("rice:salt", "the dish 'rice:salt': 'salt' is no setting with a value; write each as "
                      "NAME=VALUE; it has salt, grains"),
        ("rice:salt=", "the dish 'rice:salt=': 'salt=' is no setting with a value; write each as "
                       "NAME=VALUE; it has salt, grains"),
        ("rice:=3", "the dish 'rice:=3': '=3' is no setting with a value; write each as "
                    "NAME=VALUE; it has salt, grains"),
        ("rice:", "the dish 'rice:': '' is no setting with a value; write each as NAME=VALUE; "
                  "it has salt, grains"),
        ("rice:salt=1,", "the dish 'rice:salt=1,': '' is no setting with a value; write each as "
                         "NAME=VALUE; it has salt, grains"),
        ("rice:salt=1,salt=1", "the dish 'rice:salt=1,salt=1': salt is given twice; leave one out"),
        ("soup:plates=0", "the dish 'soup:plates=0': plates = 0 should be greater than or equal "
                          "to 1"),
        ("soup:plates=1.5", "the dish 'soup:plates=1.5': plates = 1.5 should be a valid integer, "
                            "got a number with a fractional part"),
        ("soup:plates=two", "the dish 'soup:plates=two': plates = 'two' should be a valid integer, "
                            "unable to parse string as an integer"),
        ("soup:lambda=0", "the dish 'soup:lambda=0': lambda = 0 should be greater than 0"),
        ("soup:lambda=nan", "the dish 'soup:lambda=nan': lambda = nan should be a finite number"),
        ("soup:lambda=inf", "the dish 'soup:lambda=inf': lambda = inf should be a finite number"),
        ("soup:like=warm", "the dish 'soup:like=warm': like = 'warm' should be 'hot' or 'cold'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(KitboxError) as error:
        parse_method(text, DISHES)
    assert str(error.value) == sentence


FAMILIES: dict[str, Mapping[str, type[Any]]] = {
    "re-ranking step": rerankers.STEPS,
    "matcher": match_settings.METHODS,
    "method of fusion": fusion_method.METHODS,
    "balance": balance.METHODS,
}


@pytest.mark.parametrize("noun", FAMILIES)
def test_all_stages_of_an_ensemble_speak_with_one_voice(noun: str) -> None:
    methods = FAMILIES[noun]
    parse = {
        "re-ranking step": rerankers.parse_step,
        "matcher": match_settings.MatchSettings.parse,
        "method of fusion": fusion_method.parse_fusion,
        "balance": balance.parse_balance,
    }[noun]
    known = ", ".join(methods)
    with pytest.raises(KitboxError, match=f"^there is no {noun} 'zzzzz'; there are ") as error:
        parse("zzzzz")
    assert str(error.value).endswith(known)
    for kind, method in methods.items():
        name = method.names()[0]
        for text, sentence in {
            f"{kind}:zzzzz=1": f"{kind} has no setting 'zzzzz'; it has {name}",
            f"{kind}:{name}": f"'{name}' is no setting with a value; write each as NAME=VALUE; it",
            f"{kind}:{name}=1,{name}=1": f"{name} is given twice; leave one out",
            f"{kind}:{name}=-1": f"{name} = -1 should be ",
        }.items():
            with pytest.raises(KitboxError) as error:
                parse(text)
            assert str(error.value).startswith(f"the {noun} '{text}': {sentence}")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("query_expansion", "query_expansion:k=2,alpha=3"),
        ("dba", "dba:k=3,alpha=3"),
        ("subtraction", "subtraction:beta=0.35,k=10,rounds=1"),
        ("k_reciprocal", "k_reciprocal:k1=8,k2=2,lambda=0.5"),
        ("diffusion", "diffusion:k=10,alpha=0.9,gamma=3,size=500,weight=0.5"),
        ("local_scaling", "local_scaling:k=10"),
        ("score_normalisation", "score_normalisation:beta=1,k=3"),
    ],
)
def test_steps_of_receipts_keep_their_texts(text: str, canonical: str) -> None:
    assert str(rerankers.parse_step(text)) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("each_label", "each_label:within=0.1"),
        ("each_label:within=1", "each_label:within=1.0"),
        ("assignment", "assignment:most=1"),
        ("sizes", "sizes:like=train"),
        ("sinkhorn", "sinkhorn:temperature=0.05,rounds=100,like=train"),
    ],
)
def test_balances_of_receipts_keep_their_texts(text: str, canonical: str) -> None:
    assert str(balance.parse_balance(text)) == canonical
