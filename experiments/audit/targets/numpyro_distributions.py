"""`numpyro.distributions`: log_prob as a function of the parameters and, for continuous distributions, of the point."""

# pyright: reportMissingImports=false

import numpy as np

from experiments.audit.calls import log_prob
from experiments.audit.domains import above, between, constant, fixed, nonnegative, positive, real
from experiments.audit.target import Domain, Target

COUNTS = fixed(np.array([0, 1, 3, 2]))
BITS = fixed(np.array([1, 0, 1, 0]))


def density(name: str, label: str = "", options=None, **arguments: Domain) -> Target:
    """Return the target of a distribution's log_prob, with its parameters by name and then x."""
    path = f"numpyro.distributions.{name}"
    return Target(path, tuple(arguments.values()), options or {}, log_prob(list(arguments)[:-1]), label=label)


CONTINUOUS = (
    density("AsymmetricLaplace", loc=real(), scale=positive(), asymmetry=positive(), x=real()),
    density("AsymmetricLaplaceQuantile", loc=real(), scale=positive(), quantile=between(0, 1), x=real()),
    density("Beta", concentration1=positive(), concentration0=positive(), x=between(0, 1)),
    density("BetaProportion", mean=between(0, 1), concentration=positive(), x=between(0, 1)),
    density("Cauchy", loc=real(), scale=positive(), x=real()),
    density("Chi2", df=positive(), x=positive()),
    density("Dagum", concentration=positive(), sharpness=positive(), scale=positive(), x=positive()),
    density("DoublyTruncatedPowerLaw", alpha=real(), low=fixed(0.5), high=fixed(4.0), x=between(0.5, 4)),
    density("Exponential", rate=positive(), x=nonnegative()),
    density("Gamma", concentration=positive(), rate=positive(), x=positive()),
    density("Gompertz", concentration=positive(), rate=positive(), x=nonnegative()),
    density("Gumbel", loc=real(), scale=positive(), x=real()),
    density("HalfCauchy", scale=positive(), x=nonnegative()),
    density("HalfNormal", scale=positive(), x=nonnegative()),
    density("InverseGamma", concentration=positive(), rate=positive(), x=positive()),
    density("Kumaraswamy", concentration1=positive(), concentration0=positive(), x=between(0, 1)),
    density("Laplace", loc=real(), scale=positive(), x=real()),
    density("Levy", loc=between(-1, 0), scale=positive(), x=positive()),
    density("LogNormal", loc=real(), scale=positive(), x=positive()),
    density("LogUniform", low=between(0.1, 0.5), high=above(3), x=between(0.5, 3)),
    density("Logistic", loc=real(), scale=positive(), x=real()),
    density("LowerTruncatedPowerLaw", alpha=between(-5, -1.5), low=fixed(0.5), x=above(0.5)),
    density("Normal", loc=real(), scale=positive(), x=real()),
    density("Pareto", scale=between(0.1, 1), alpha=positive(), x=above(1)),
    density("RelaxedBernoulliLogits", temperature=positive(), logits=real(), x=between(0, 1)),
    density("SoftLaplace", loc=real(), scale=positive(), x=real()),
    density("StudentT", df=positive(), loc=real(), scale=positive(), x=real()),
    density("TruncatedCauchy", "low", loc=real(), scale=positive(), low=fixed(-2.0), x=above(-2)),
    density("TruncatedNormal", "low", loc=real(), scale=positive(), low=between(-3, -2), x=above(-2)),
    density("TruncatedNormal", "high", loc=real(), scale=positive(), high=between(2, 3), x=between(-2, 2)),
    density(
        "TruncatedNormal", "low, high", loc=real(), scale=positive(), low=fixed(-2.0), high=fixed(2.0), x=between(-2, 2)
    ),
    density("Uniform", low=between(-2, -1), high=between(1, 2), x=between(-1, 1)),
    density("VonMises", loc=real(), concentration=positive(), x=between(-3, 3)),
    density("Weibull", scale=positive(), concentration=positive(), x=positive()),
)

DISCRETE = (
    density("BernoulliLogits", logits=real(), x=BITS),
    density("BernoulliProbs", probs=between(0, 1), x=BITS),
    density("BetaBinomial", concentration1=positive(), concentration0=positive(), total_count=fixed(4), x=COUNTS),
    density("BetaNegativeBinomial", concentration1=positive(), concentration0=positive(), n=positive(), x=COUNTS),
    density("BinomialLogits", logits=real(), total_count=fixed(4), x=COUNTS),
    density("BinomialProbs", probs=between(0, 1), total_count=fixed(4), x=COUNTS),
    density("CategoricalLogits", logits=real(3), x=fixed(1)),
    density("GammaPoisson", concentration=positive(), rate=positive(), x=COUNTS),
    density("GeometricLogits", logits=real(), x=COUNTS),
    density("GeometricProbs", probs=between(0, 1), x=COUNTS),
    density("MultinomialLogits", logits=real(3), total_count=fixed(4), x=fixed(np.array([1, 0, 3]))),
    density("NegativeBinomial2", mean=positive(), concentration=positive(), x=COUNTS),
    density("NegativeBinomialLogits", total_count=positive(), logits=real(), x=COUNTS),
    density("NegativeBinomialProbs", total_count=positive(), probs=between(0, 1), x=COUNTS),
    density("OrderedLogistic", predictor=real(1), cutpoints=constant([-1.0, 0.2, 1.1]), x=fixed(2)),
    density("Poisson", rate=positive(), x=COUNTS),
    density("ZeroInflatedNegativeBinomial2", mean=positive(), concentration=positive(), gate=between(0, 1), x=COUNTS),
    density("ZeroInflatedPoisson", gate=between(0, 1), rate=positive(), x=COUNTS),
    density("HurdlePoisson", gate=between(0, 1), rate=positive(), x=COUNTS),
    density("HurdleGamma", gate=between(0, 1), concentration=positive(), rate=positive(), x=positive()),
    density("HurdleLogNormal", gate=between(0, 1), loc=real(), scale=positive(), x=positive()),
)

TARGETS = CONTINUOUS + DISCRETE
