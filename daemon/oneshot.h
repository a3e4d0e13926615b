/* What the daemon's program does besides being the daemon: modes that run once and end, named by the first word. */
#ifndef DAEMON_ONESHOT_H
#define DAEMON_ONESHOT_H

/* Runs the mode that argv[1] names. Returns its exit status, or -1 if argv[1] names none. */
int oneshot_run(int argc, char **argv);

#endif
