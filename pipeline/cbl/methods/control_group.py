"""
Control group: what customers like those that were called drew, who were not called.

Baseline = mean load of a control customer × customers that were called, interval by interval; load is the sum of those
called. Fewer than 150 control customers with complete readings carry no baseline.
"""

from datetime import date

from pipeline.cbl.rule import Reference, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="control-group",
        version="1",
        title="Control group of customers that were not called",
        venue="CAISO",
        valid_from=date(2018, 10, 24),
        citation=(
            "CAISO tariff 4.13.4. Three methods were added to two by the amendment for Energy Storage and Distributed "
            "Energy Resources, phase 2, filed on 17 August 2018 and accepted by FERC's letter of 24 October 2018 "
            "(filing of the Californian utilities, 8 November 2018); which three was not read. That a control group "
            "was proposed as one: the Baseline Accuracy Work Group's draft of 4 April 2017, table 3-2, of which only "
            "the list was read. Negative as zero: CAISO's demand response FAQ."
        ),
        verified=False,
        unverified=("minimum_customers", "decimals"),
        notes=(
            "Begins on the day of acceptance; the day it took effect was not found. That the group is alike (same "
            "place, bias and precision on days without events) has to be shown to CAISO; it is not tested here. "
            "Customers called: --set customers=…"
        ),
        parameters=Reference(source="control", minimum_customers=150, negative="zero"),
    ),
)
