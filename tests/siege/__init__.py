"""The standing siege: random problems against a dense oracle, for as long as one likes.

    python -m tests.siege --seconds 3600 --seed 0        # cases 0, 1, 2, ... for an hour; exit status 1 if any failed
    python -m tests.siege --case 4711                    # this case alone, with all that it draws
    python -m tests.siege --seconds 60 --only top_items  # cases of one kind

It runs from the root of the repository and uses the public interface alone (``ImplicitALS``, ``Interactions``,
``Checkpoint``, ``evaluation``), so that what is inside may change. ``test_siege.py`` runs a sample of it with the other
tests; ``.github/workflows/nightly.yml`` runs it every night.

A run ends with two tables: cases of each kind, how many a second, and the seeds of those that failed; and each claim,
how often it was made and how near to its limit the nearest came (1 is the limit), with the case. A claim that never
comes near tests little, one that comes very near deserves a look.

How it is made
--------------
choices     What a case draws, from its seed and a name: nothing else moves when something is added.
problem     The dataclass ``Problem`` and how it is drawn; ``forms`` are the ways to store its matrix.
oracle      The objective on dense matrices. ``limits`` derives how far from it a float32 or float64 solution may be.
checks      Claims: ``true``, ``at_most``, ``same`` (bit for bit), ``solved``, ``unchanged``.
fits, fold_in, scaling, serving, starts, top_items, files, threads, tables
            The kinds of cases. ``runner`` has the list, runs them and counts.

To replay a failure
-------------------
The failure names its case: ``--case SEED`` runs it again, prints the problem, and all claims that fail. In a debugger:

    from tests.siege.choices import Choices
    from tests.siege.problem import draw_problem
    problem = draw_problem(Choices(SEED))       # as the kind's function draws it
    model = problem.model().fit(**problem.data)
    problem.terms, problem.lambdas              # what the oracle makes of it

To add a parameter
------------------
One line in ``problem.PARAMETERS``: its options and how often each is drawn. Its meaning goes into ``oracle.terms_of``
or ``oracle.regularizations``, and if it changes how rows are solved, into ``limits.Method``. Other choices stay as they
are, so old seeds still stand for the same problems but for the new parameter. Something passed to ``fit``, such as
weights of missing pairs or features, becomes a field of ``Problem``, None by default, which ``Problem.data`` passes on.

To add a check
--------------
A claim in the function that has what it needs: ``checks.at_most("what it is", got - expected, limit)``, where the limit
follows from roundoff, condition, ``tol`` and sizes, and a comment says how. If it fails, either the code, the oracle or
the derivation is wrong; a limit is never widened to fit. A new kind of case is a function of ``(choices, checks)`` in
``runner.KINDS``; it sets ``checks.description``.
"""
