"""lm_eval's command line with one more model: `python -m diffusion.lm_eval_model`.

lm_eval 0.4.13 finds models in its own list alone (`--include_path` is for tasks), so that the model
is registered here and everything else is left to it.
"""

import importlib
import sys

from support.errors import PolytraceError, UserError


def main() -> None:
    """Run it; what the user did wrong with our options is one line and an exit code."""
    try:
        try:
            from lm_eval.__main__ import cli_evaluate
        except ModuleNotFoundError as error:
            if error.name != "lm_eval":
                raise
            raise UserError(
                'lm_eval is not installed; pip install -e ".[harness]" in the checkout'
            ) from None
        importlib.import_module("diffusion.lm_eval_model.model")
        cli_evaluate()
    except PolytraceError as error:
        print(f"polytrace: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
