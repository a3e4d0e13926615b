/* The one-shot mode `semcached evaluate`: what the cache would have done with the questions in a file. semcached(8). */
#ifndef DAEMON_EVALUATE_H
#define DAEMON_EVALUATE_H

/* Runs it; argv[0] is "evaluate". Returns the exit status. */
int evaluate_main(int argc, char **argv);

#endif
