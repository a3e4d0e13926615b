/* The one-shot mode `semcached calibrate`: the lowest threshold that keeps a promise, as a certificate. semcached(8). */
#ifndef DAEMON_CALIBRATE_H
#define DAEMON_CALIBRATE_H

/* Runs it; argv[0] is "calibrate". Returns the exit status. */
int calibrate_main(int argc, char **argv);

#endif
