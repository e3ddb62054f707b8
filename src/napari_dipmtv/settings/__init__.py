"""The knobs of every stage: one frozen model each, from which forms, tooltips, command line and docs are made."""
