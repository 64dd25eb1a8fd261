"""Polytrace's decoder as a model of EleutherAI's lm-evaluation-harness; needs `lm_eval`.

`python -m diffusion.lm_eval_model` is lm_eval's own command line with the model "polytrace"
registered; importing `diffusion.lm_eval_model.model` registers it for a program.
"""
