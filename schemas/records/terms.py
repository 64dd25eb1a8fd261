"""The fixed words of the records: grades, reasons to stop, stages and levels."""

from enum import StrEnum


class Grade(StrEnum):
    """The grade of a trace's answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"  # no answer could be read from the trace
    TIMEOUT = "timeout"  # the verifier was killed; never counted as right


END_OF_THINKING = "</think>"  # behind it, a reasoning model gives its answer


class FinishReason(StrEnum):
    """Why a teacher stopped writing."""

    STOP = "stop"  # end token or stop string
    LENGTH = "length"  # cut off by the token limit; a label, not an error
    UNKNOWN = "unknown"  # recorded traces often do not say
    NO_END_OF_THINKING = "no_end_of_thinking"  # `part: after_think`, and there is no `</think>`
    NO_CONTENT = "no_content"  # a server's reply with null where its text should be
    REFUSED = "refused"  # a judge's server refused the request; the text says why


class Stage(StrEnum):
    """The stages of a build, in order; each is also the name of its folder."""

    PROMPTS = "prompts"
    TRACES = "traces"
    GRADED = "graded"
    CANVASES = "canvases"
    SUMMARIES = "summaries"  # only where a teacher writes them
    SCORED = "scored"
    RELEASE = "release"


class Level(StrEnum):
    """What a segment is when SeqDep is measured (METHOD section 2)."""

    PATH = "path"
    STEP = "step"
    WINDOW = "window"


class StopReason(StrEnum):
    """Why no more samples of a prompt were drawn."""

    FIXED = "fixed"  # the recipe's number of samples
    TOPPED_UP = "topped_up"  # the same, and spare ones for those that were unusable or alike
    RECORDED = "recorded"  # the source's own traces, and no others
    GROUP_STANDS = "group_stands"  # enough distinct traces, in the wanted mix
    MOST_REACHED = "most_reached"
    GIVEN_UP = "given_up"  # none of a kind that the mix asks for, after `give_up` samples
    REFUSED = "refused"  # the teacher would not answer the prompt
    GRADED_AGAIN = "graded_again"  # its group stood by the verdicts of an earlier grader
