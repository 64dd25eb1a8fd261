"""The former name of `diffusion.lm_eval_model`: `python -m diffusion.harness` goes on working."""

from diffusion.lm_eval_model.__main__ import main

if __name__ == "__main__":
    main()
