/* The shim of a pod: PID 1 of the job's container. Starts the tenant's command, keeps its deadline, says how it ended.
 *
 *     shim [--NAME=VALUE ...] -- COMMAND [ARGUMENT ...]
 *     shim --visit=WORD [--term=NAME] -- COMMAND [ARGUMENT ...]
 *     shim --leave=WORD
 *
 * The latter two are run in the same container by the region's supervisor, for an interactive session: a command with
 * the job's own environment, and the end of all that it started. They never outlive the first.
 *
 *     --control=DIR            /nordan/control     what the agent tells: start, deadline, stop, collected
 *     --log=DIR                /nordan/log         where rank.log and, at the end, exit are written
 *     --record=FILE            /dev/termination-log
 *     --grace=SECONDS          10     between SIGTERM to the shim and SIGKILL to the command
 *     --deadline-grace=SECONDS 2      SIGTERM comes so long before the deadline
 *     --log-limit=BYTES        268435456
 *     --start-wait=SECONDS     120    no agent has spoken by then: the command is never started
 *
 * Static, so that it runs in every image. It asks nobody: what it must know lies in small files that the agent replaces
 * by rename, with instants on the boot-time clock, which all containers of a node share. It needs neither the API
 * server nor the region to end the command in time. As PID 1 it can be neither killed nor stopped from inside its
 * container, and being non-dumpable it cannot be traced, nor can its descriptors be opened through /proc.
 *
 * The files, all in the control folder, which the job's container mounts read-only:
 *     start      NAME=VALUE pairs that end with NUL, added to the environment; the command waits for it
 *     deadline   "AT\n", seconds; missing or unreadable means passed
 *     stop       "AT GRACE\n", seconds
 *     collected  exists: nothing of this container is needed any more
 *     lock       empty; the shim holds it until nothing of the command is left. What the exit file says counts only
 *                when it is free: the program could write that file, but it cannot let go of the shim's lock
 */
#define _GNU_SOURCE

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
    EXIT_USAGE = 64,
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127,
    EXIT_SIGNAL = 128,
    CHUNK_BYTES = 1 << 16,
    /* What a pipe that is ready for writing takes without making the writer wait. */
    PIPE_BYTES = 4096,
    START_LIMIT_BYTES = 4 << 20,
    ENVIRONMENT_LIMIT_BYTES = 8 << 20,
    MOST_PROCESSES = 1 << 15,
    /* How often all processes are looked through for what a session left; each round leaves fewer. */
    LEAVE_ROUNDS = 50,
    /* A reader of standard output that stalls for so long loses lines. */
    STALL_MS = 1000,
};

/* How long a new file may go unnoticed where inotify tells of it, and where it does not. */
static const double WATCHED_POLL_S = 2.0;
static const double BLIND_POLL_S = 0.2;
/* A process that cannot be killed (a hung driver) must not make the shim spin. */
static const double LEAST_PAUSE_S = 0.02;
/* How long the log may take to reach a slow disk before the end is written without its tail. */
static const double DRAIN_S = 5.0;

struct options {
    const char *control;
    const char *log;
    const char *record;
    double grace_s;
    double deadline_grace_s;
    double start_wait_s;
    unsigned long long log_limit;
    const char *visit;
    const char *leave;
    const char *term;
    char **command;
};

/* The two instants of the end, and what set each of them. */
struct plan {
    double term_at_s;
    double kill_at_s;
    double limit_s;
    bool has_deadline;
    bool is_term_by_deadline;
    bool is_kill_by_deadline;
};

struct ending {
    int exit_code; /* -1: none */
    int signal;    /* 0: none */
    bool at_deadline;
    bool was_killed; /* the shim sent SIGKILL itself */
    bool oom;
    double started_at_s; /* negative: never */
    double ended_at_s;
};

struct shim {
    struct options options;
    int signals;  /* signalfd */
    int changes;  /* inotify, or -1 */
    int record;   /* the container's termination log */
    int lock;     /* held while the command may run, or -1 */
    bool is_shutdown;
    pid_t child;
    int status;
    bool has_status;
};

/* --- the log: a thread, because a disk or a reader that hangs must not keep the shim from the deadline --- */

struct pump {
    int source;
    int log;
    int done; /* closed at the end, which the shim notices */
    bool is_heard;
    bool is_stalled;
    unsigned long long limit;
    unsigned long long left;
};

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_s(double seconds) {
    struct timespec length = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&length, NULL);
}

static int join_path(char *buffer, size_t size, const char *folder, const char *name) {
    int length = snprintf(buffer, size, "%s/%s", folder, name);
    return length < 0 || (size_t)length >= size ? -1 : 0;
}

static bool write_all(int descriptor, const char *data, size_t length) {
    while (length > 0) {
        ssize_t written = write(descriptor, data, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        data += written;
        length -= (size_t)written;
    }
    return true;
}

/* A sentence of the shim's own, on standard error: the container's log has it. */
static void say(const char *what, const char *why) {
    char line[1024];
    int length = snprintf(line, sizeof line, "[nordan] %s%s%s\n", what, why[0] != '\0' ? ": " : "", why);
    if (length < 0) return;
    write_all(STDERR_FILENO, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

/* Copy to standard output, which is a courtesy: a reader who stalls costs lines of the copy, never the job's time. */
static void echo_out(struct pump *pump, const char *data, size_t length) {
    while (pump->is_heard && length > 0) {
        struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (poll(&ready, 1, pump->is_stalled ? 0 : STALL_MS) <= 0) {
            pump->is_stalled = true;
            return;
        }
        pump->is_stalled = false;
        ssize_t written = write(STDOUT_FILENO, data, length < PIPE_BYTES ? length : PIPE_BYTES);
        if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (written <= 0) {
            pump->is_heard = false;
            return;
        }
        data += written;
        length -= (size_t)written;
    }
}

static void append(struct pump *pump, const char *data, size_t length) {
    /* A full disk costs the program its log, not its life. */
    if (pump->log >= 0) write_all(pump->log, data, length);
    echo_out(pump, data, length);
}

static void feed(struct pump *pump, const char *data, size_t length) {
    if (pump->left == 0) return;
    if (length < pump->left) {
        append(pump, data, length);
        pump->left -= length;
        return;
    }
    append(pump, data, (size_t)pump->left);
    pump->left = 0;
    char line[128];
    int size = snprintf(line, sizeof line, "\n[nordan] the log has reached %llu bytes; the rest is dropped\n", pump->limit);
    if (size > 0) append(pump, line, (size_t)size);
}

static void *run_pump(void *argument) {
    struct pump *pump = argument;
    static char chunk[CHUNK_BYTES];
    for (;;) {
        ssize_t got = read(pump->source, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        feed(pump, chunk, (size_t)got);
    }
    close(pump->done);
    return NULL;
}

/* --- what the agent tells --- */

/* Return how many bytes were read, or -1; a file that fills the buffer is longer than it may be. */
static ssize_t read_file(const char *path, char *buffer, size_t size) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) return -1;
    size_t have = 0;
    ssize_t got = 0;
    while (have < size && (got = read(descriptor, buffer + have, size - have)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        have += (size_t)got;
    }
    close(descriptor);
    return got < 0 || have == size ? -1 : (ssize_t)have;
}

/* Read one decimal number and move behind it; strtod alone would take "nan", "0x1" and "1e99". */
static bool read_number(const char **text, double *value) {
    const char *at = *text;
    size_t digits = 0;
    while (isdigit((unsigned char)*at)) at++, digits++;
    if (*at == '.') {
        at++;
        while (isdigit((unsigned char)*at)) at++, digits++;
    }
    if (digits == 0 || digits > 30) return false;
    *value = strtod(*text, NULL);
    *text = at;
    return true;
}

static bool read_numbers(const struct shim *shim, const char *name, double *values, size_t count) {
    char path[PATH_MAX], text[128];
    if (join_path(path, sizeof path, shim->options.control, name) != 0) return false;
    ssize_t length = read_file(path, text, sizeof text - 1);
    if (length <= 0) return false;
    text[length] = '\0';
    const char *at = text;
    for (size_t number = 0; number < count; number++) {
        if (number > 0 && *at++ != ' ') return false;
        if (!read_number(&at, &values[number])) return false;
    }
    return at[0] == '\n' && at[1] == '\0' && at + 1 == text + length;
}

/* When the command is told to end and when it is killed: whichever of deadline and stop comes first. */
static struct plan make_plan(const struct shim *shim) {
    double limit = 0.0, stop[2];
    struct plan plan = {.has_deadline = read_numbers(shim, "deadline", &limit, 1)};
    if (!plan.has_deadline) limit = 0.0;
    plan.limit_s = limit;
    plan.term_at_s = limit - shim->options.deadline_grace_s;
    plan.kill_at_s = limit;
    plan.is_term_by_deadline = plan.is_kill_by_deadline = true;
    if (read_numbers(shim, "stop", stop, 2)) {
        if (stop[0] <= plan.term_at_s) plan.term_at_s = stop[0], plan.is_term_by_deadline = false;
        if (stop[0] + stop[1] <= plan.kill_at_s) plan.kill_at_s = stop[0] + stop[1], plan.is_kill_by_deadline = false;
    }
    return plan;
}

static bool is_there(const struct shim *shim, const char *name) {
    char path[PATH_MAX];
    struct stat state;
    return join_path(path, sizeof path, shim->options.control, name) == 0 && lstat(path, &state) == 0;
}

/* --- waiting --- */

static void reap(struct shim *shim) {
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
        if (ended == shim->child) {
            shim->status = status;
            shim->has_status = true;
        }
    }
}

static void drain(struct shim *shim) {
    struct signalfd_siginfo info;
    char events[4096];
    while (read(shim->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) shim->is_shutdown = true;
    }
    while (shim->changes >= 0 && read(shim->changes, events, sizeof events) > 0) {
    }
}

/* Sleep until something is told, or `due_s` comes near; at most until the next look at the files. */
static void wait_until(struct shim *shim, double due_s) {
    double longest_s = shim->changes >= 0 ? WATCHED_POLL_S : BLIND_POLL_S;
    double left_s = due_s - now_s();
    if (left_s > longest_s) left_s = longest_s;
    if (left_s < LEAST_PAUSE_S) left_s = LEAST_PAUSE_S;
    struct pollfd sources[2] = {{.fd = shim->signals, .events = POLLIN}, {.fd = shim->changes, .events = POLLIN}};
    poll(sources, 2, (int)(left_s * 1000.0) + 1);
    drain(shim);
    reap(shim);
}

/* --- killing --- */

struct process {
    pid_t pid;
    pid_t parent;
};

static pid_t parent_of(const char *number) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.16s/stat", number);
    ssize_t length = read_file(path, text, sizeof text - 1);
    if (length <= 0) return -1;
    text[length] = '\0';
    /* The name stands in brackets and may itself hold brackets and blanks: the last bracket ends it. */
    char *end = strrchr(text, ')');
    if (end == NULL || end[1] != ' ' || end[2] == '\0' || end[3] != ' ') return -1;
    return (pid_t)strtol(end + 4, NULL, 10);
}

static size_t list_processes(struct process *found, size_t limit) {
    DIR *listing = opendir("/proc");
    size_t count = 0;
    if (listing == NULL) return 0;
    for (struct dirent *entry; count < limit && (entry = readdir(listing)) != NULL;) {
        pid_t parent;
        if (!isdigit((unsigned char)entry->d_name[0]) || (parent = parent_of(entry->d_name)) < 0) continue;
        found[count++] = (struct process){.pid = (pid_t)strtol(entry->d_name, NULL, 10), .parent = parent};
    }
    closedir(listing);
    return count;
}

/* Outside a container of our own (tests): kill the descendants, again and again until none is left. */
static void kill_descendants(void) {
    static struct process all[MOST_PROCESSES];
    static pid_t wanted[MOST_PROCESSES];
    size_t count = list_processes(all, sizeof all / sizeof all[0]);
    size_t known = 0;
    wanted[known++] = getpid();
    for (size_t at = 0; at < known; at++) {
        for (size_t one = 0; one < count && known < sizeof wanted / sizeof wanted[0]; one++) {
            if (all[one].parent == wanted[at]) wanted[known++] = all[one].pid;
        }
    }
    for (size_t at = 1; at < known; at++) kill(wanted[at], SIGKILL);
}

static void kill_all(void) {
    /* As PID 1, -1 means everything in this container but the shim, taken at once: no fork escapes it. Were this
     * another process, it would mean everything of this user. */
    if (getpid() == 1)
        kill(-1, SIGKILL);
    else
        kill_descendants();
}

static void terminate(const struct shim *shim) {
    /* Not reaped yet, so the number is its own; the group is gone if the program moved to another. */
    if (kill(-shim->child, SIGTERM) != 0) kill(shim->child, SIGTERM);
}

/* Kill what the program left, and return when nothing of it is left: orphans become the shim's children. */
static void kill_rest(void) {
    double length_s = 0.002;
    for (;;) {
        pid_t ended;
        while ((ended = waitpid(-1, NULL, WNOHANG)) > 0) {
        }
        if (ended < 0 && errno == ECHILD) break;
        kill_all();
        pause_s(length_s);
        length_s = length_s > 0.25 ? 0.5 : length_s * 2;
    }
    /* What came into the container by another way (an interactive shell) is not the shim's child. */
    if (getpid() == 1) kill_all();
}

/* --- starting --- */

static bool same_name(const char *left, const char *right) {
    size_t length = strcspn(left, "=");
    return strncmp(left, right, length) == 0 && right[length] == '=';
}

/* Add the variables of the start file to the environment; NULL when it is malformed. */
static char **merged_environment(char *pairs, size_t length) {
    size_t count = 0, added = 0;
    while (environ[count] != NULL) count++;
    for (size_t at = 0; at < length; at++) added += pairs[at] == '\0';
    if (length > 0 && pairs[length - 1] != '\0') return NULL;
    char **merged = calloc(count + added + 1, sizeof *merged);
    if (merged == NULL) return NULL;
    memcpy(merged, environ, count * sizeof *merged);
    for (char *pair = pairs; pair < pairs + length; pair += strlen(pair) + 1) {
        if (pair[0] == '=' || strchr(pair, '=') == NULL) return NULL;
        size_t place = 0;
        while (place < count && !same_name(pair, merged[place])) place++;
        merged[place] = pair;
        if (place == count) count++;
    }
    return merged;
}

static void refuse(int code, const char *command, const char *why) {
    say(command, why);
    _exit(code);
}

static void become_job(const struct shim *shim, char **environment, int output, pid_t parent) {
    sigset_t none;
    setsid();
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0) refuse(EXIT_NOT_EXECUTABLE, "no /dev/null", strerror(errno));
    if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) _exit(EXIT_NOT_EXECUTABLE);
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    umask(077);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) _exit(EXIT_NOT_EXECUTABLE);
    close_range(3, ~0U, 0);
    sigemptyset(&none);
    /* Last: a signal that came since the fork was held back and takes effect here. */
    sigprocmask(SIG_SETMASK, &none, NULL);
    environ = environment;
    execvp(shim->options.command[0], shim->options.command);
    if (errno == ENOENT || errno == ENOTDIR) refuse(EXIT_NOT_FOUND, shim->options.command[0], "command not found");
    refuse(EXIT_NOT_EXECUTABLE, shim->options.command[0], strerror(errno));
}

static int open_log(const struct options *options) {
    char path[PATH_MAX];
    if (join_path(path, sizeof path, options->log, "rank.log") != 0) return -1;
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (log < 0) say("no log is kept for shipping", strerror(errno));
    return log;
}

/* Start the command and the thread that carries its output; returns the descriptor that tells the output's end. */
static int start(struct shim *shim, char **environment, struct pump *pump) {
    int output[2], done[2];
    pid_t own = getpid();
    if (pipe2(output, O_CLOEXEC) != 0 || pipe2(done, O_CLOEXEC) != 0) return -1;
    *pump = (struct pump){.source = output[0], .done = done[1], .is_heard = true, .log = open_log(&shim->options)};
    pump->limit = pump->left = shim->options.log_limit;
    shim->child = fork();
    if (shim->child < 0) return -1;
    if (shim->child == 0) become_job(shim, environment, output[1], own);
    close(output[1]);
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_pump, pump) != 0) {
        kill(shim->child, SIGKILL);
        return -1;
    }
    pthread_detach(thread);
    return done[0];
}

/* --- out of memory --- */

static long oom_kills_in(const char *path) {
    char text[1024];
    ssize_t length = read_file(path, text, sizeof text - 1);
    if (length <= 0) return -1;
    text[length] = '\0';
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "oom_kill ", 9) == 0) return strtol(line + 9, NULL, 10);
    }
    return -1;
}

/* How many processes of this container the kernel has killed for want of memory; 0 where it does not say. */
static long oom_kills(void) {
    long count = oom_kills_in("/sys/fs/cgroup/memory.events");
    if (count < 0) count = oom_kills_in("/sys/fs/cgroup/memory/memory.oom_control");
    return count < 0 ? 0 : count;
}

/* --- the record of the end --- */

static const char *truth(bool is_so) { return is_so ? "true" : "false"; }

static void number_or_null(char *buffer, size_t size, bool is_known, double value, int decimals) {
    if (is_known)
        snprintf(buffer, size, "%.*f", decimals, value);
    else
        snprintf(buffer, size, "null");
}

static int render(const struct ending *ending, char *buffer, size_t size) {
    struct rusage used;
    char code[32], number[32], started[64];
    getrusage(RUSAGE_CHILDREN, &used);
    number_or_null(code, sizeof code, ending->exit_code >= 0, ending->exit_code, 0);
    number_or_null(number, sizeof number, ending->signal > 0, ending->signal, 0);
    number_or_null(started, sizeof started, ending->started_at_s >= 0, ending->started_at_s, 6);
    return snprintf(buffer, size,
                    "{\"exit_code\": %s, \"signal\": %s, \"at_deadline\": %s, \"was_killed\": %s, \"oom\": %s, "
                    "\"user_s\": %.6f, \"system_s\": %.6f, \"max_rss_kib\": %ld, "
                    "\"started_at_s\": %s, \"ended_at_s\": %.6f}\n",
                    code, number, truth(ending->at_deadline), truth(ending->was_killed), truth(ending->oom),
                    (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6,
                    (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6, used.ru_maxrss, started,
                    ending->ended_at_s);
}

/* For the agent: replaced by rename, so that it meets a whole file or none. Nothing of the job runs any more. */
static void write_exit(const struct options *options, const char *text, size_t length) {
    char path[PATH_MAX], temporary[PATH_MAX];
    if (join_path(path, sizeof path, options->log, "exit") != 0) return;
    if (join_path(temporary, sizeof temporary, options->log, ".exit") != 0) return;
    remove(temporary);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (file < 0) {
        say("the agent cannot be told of the end", strerror(errno));
        return;
    }
    bool is_written = write_all(file, text, length);
    close(file);
    if (is_written && rename(temporary, path) != 0 && (remove(path) != 0 || rename(temporary, path) != 0))
        say("the agent cannot be told of the end", strerror(errno));
}

static void write_record(const struct shim *shim, const struct ending *ending) {
    char text[1024];
    int length = render(ending, text, sizeof text);
    if (length <= 0 || (size_t)length >= sizeof text) return;
    /* Whatever the program has written there itself gives way. */
    if (shim->record >= 0 && (ftruncate(shim->record, 0) != 0 || lseek(shim->record, 0, SEEK_SET) != 0 ||
                              !write_all(shim->record, text, (size_t)length)))
        say("the end cannot be recorded", strerror(errno));
    write_exit(&shim->options, text, (size_t)length);
}

/* --- the steps --- */

/* Wait for the agent's word; false when the end comes first, in which case the command is never started. */
static bool await_start(struct shim *shim, struct ending *ending) {
    double give_up_s = now_s() + shim->options.start_wait_s;
    for (;;) {
        struct plan plan = make_plan(shim);
        bool is_told = is_there(shim, "start");
        /* Before the agent has spoken there is no deadline, and nothing to end. */
        bool is_due = (plan.has_deadline || is_told || !plan.is_term_by_deadline) && plan.term_at_s <= now_s();
        if (is_due || shim->is_shutdown || now_s() >= give_up_s) {
            if (!is_due && !shim->is_shutdown) say("no agent has given the word to start; giving up", "");
            ending->signal = SIGTERM;
            ending->at_deadline = !shim->is_shutdown && plan.is_term_by_deadline;
            return false;
        }
        if (is_told) return true;
        wait_until(shim, give_up_s);
    }
}

static char **start_environment(const struct shim *shim) {
    char path[PATH_MAX];
    char *pairs = malloc(START_LIMIT_BYTES);
    if (pairs == NULL || join_path(path, sizeof path, shim->options.control, "start") != 0) return NULL;
    ssize_t length = read_file(path, pairs, START_LIMIT_BYTES);
    return length < 0 ? NULL : merged_environment(pairs, (size_t)length);
}

/* Watch the command until it ends, and end it in time. Returns when a stop would be complete, for the wait after it. */
static double watch(struct shim *shim, struct ending *ending) {
    bool is_terminated = false;
    double kill_at_s = 1e18;
    while (!shim->has_status) {
        double now = now_s();
        struct plan plan = make_plan(shim);
        if (!is_terminated && (plan.term_at_s <= now || shim->is_shutdown)) {
            is_terminated = true;
            ending->at_deadline = plan.is_term_by_deadline && plan.term_at_s <= now;
            /* A deadline that moves on later does not bring back what was already told to go. */
            kill_at_s = plan.term_at_s <= now ? plan.kill_at_s : now + shim->options.grace_s;
            terminate(shim);
        }
        if (is_terminated && (kill_at_s <= now || plan.kill_at_s <= now)) {
            ending->was_killed = true;
            ending->at_deadline = ending->at_deadline || (plan.is_kill_by_deadline && plan.kill_at_s <= now);
            kill_all();
        }
        double due_s = plan.term_at_s;
        if (is_terminated) due_s = kill_at_s < plan.kill_at_s ? kill_at_s : plan.kill_at_s;
        wait_until(shim, due_s);
    }
    return kill_at_s;
}

static void note_status(const struct shim *shim, struct ending *ending) {
    if (WIFSIGNALED(shim->status))
        ending->signal = WTERMSIG(shim->status);
    else
        ending->exit_code = WEXITSTATUS(shim->status);
}

static void run_command(struct shim *shim, struct ending *ending, double *kill_at_s) {
    static struct pump pump;
    char **environment = start_environment(shim);
    int done = environment != NULL ? start(shim, environment, &pump) : -1;
    if (done < 0) {
        say("the command could not be started", environment != NULL ? strerror(errno) : "malformed start file");
        ending->exit_code = EXIT_NOT_EXECUTABLE;
        return;
    }
    long oom_kills_before = oom_kills();
    ending->started_at_s = now_s();
    *kill_at_s = watch(shim, ending);
    note_status(shim, ending);
    kill_rest();
    ending->oom = ending->signal == SIGKILL && !ending->was_killed && oom_kills() > oom_kills_before;
    struct pollfd drained = {.fd = done, .events = POLLIN};
    poll(&drained, 1, (int)(DRAIN_S * 1000));
}

/* Keep the container, and with it the pod, until the agent has taken what it needs. Bounded by the deadline. */
static void await_collected(struct shim *shim, double kill_at_s) {
    while (!is_there(shim, "collected")) {
        struct plan plan = make_plan(shim);
        double now = now_s();
        if (shim->is_shutdown && kill_at_s > now + shim->options.grace_s) kill_at_s = now + shim->options.grace_s;
        double due_s = kill_at_s < plan.kill_at_s ? kill_at_s : plan.kill_at_s;
        if (due_s <= now) return;
        wait_until(shim, due_s);
    }
}

static int take_lock(const struct options *options) {
    char path[PATH_MAX];
    if (join_path(path, sizeof path, options->control, "lock") != 0) return -1;
    int lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    /* Nobody else holds it for longer than a look takes. */
    while (lock >= 0 && flock(lock, LOCK_EX) != 0 && errno == EINTR) {
    }
    return lock;
}

static void prepare(struct shim *shim) {
    sigset_t handled;
    /* Whoever starts the shim without the three standard descriptors must not have them taken by a pipe. */
    for (int descriptor = open("/dev/null", O_RDWR); descriptor >= 0;) {
        if (descriptor > STDERR_FILENO) {
            close(descriptor);
            break;
        }
        descriptor = open("/dev/null", O_RDWR);
    }
    sigemptyset(&handled);
    for (const int *number = (const int[]){SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCHLD, 0}; *number != 0; number++)
        sigaddset(&handled, *number);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Inherited as ignored, it would have the kernel reap the children unseen. */
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    shim->signals = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
    shim->changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (shim->changes >= 0 &&
        inotify_add_watch(shim->changes, shim->options.control, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) < 0) {
        close(shim->changes);
        shim->changes = -1;
    }
    shim->lock = take_lock(&shim->options);
    shim->record = open(shim->options.record, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
}

/* --- interactive sessions --- */

static const char VISIT_MARK[] = "NORDAN_SESSION";

/* Become a command beside the job's: what this process is already, with the job's environment and a mark. */
static int visit(const struct shim *shim) {
    char **environment = start_environment(shim);
    if (environment == NULL) {
        say("the job has not begun", "");
        return EXIT_NOT_EXECUTABLE;
    }
    environ = environment;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    umask(077);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (setenv(VISIT_MARK, shim->options.visit, 1) != 0) return EXIT_NOT_EXECUTABLE;
    if (shim->options.term != NULL && setenv("TERM", shim->options.term, 1) != 0) return EXIT_NOT_EXECUTABLE;
    execvp(shim->options.command[0], shim->options.command);
    bool is_absent = errno == ENOENT || errno == ENOTDIR;
    say(shim->options.command[0], is_absent ? "command not found" : strerror(errno));
    return is_absent ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static bool has_mark(pid_t pid, const char *mark) {
    static char text[ENVIRONMENT_LIMIT_BYTES];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    ssize_t length = read_file(path, text, sizeof text - 1);
    if (length <= 0) return false;
    text[length] = '\0';
    for (const char *pair = text; pair < text + length; pair += strlen(pair) + 1) {
        if (strcmp(pair, mark) == 0) return true;
    }
    return false;
}

/* Kill all that carries a session's mark, until nothing does. */
static int leave(const char *word) {
    static struct process all[MOST_PROCESSES];
    char mark[128];
    int length = snprintf(mark, sizeof mark, "%s=%s", VISIT_MARK, word);
    if (length < 0 || (size_t)length >= sizeof mark) return EXIT_USAGE;
    for (int round = 0; round < LEAVE_ROUNDS; round++) {
        size_t found = 0, count = list_processes(all, sizeof all / sizeof all[0]);
        for (size_t at = 0; at < count; at++) {
            if (all[at].pid != getpid() && has_mark(all[at].pid, mark) && kill(all[at].pid, SIGKILL) == 0) found++;
        }
        if (found == 0) return 0;
        pause_s(LEAST_PAUSE_S);
    }
    return 1;
}

/* --- the command line --- */

static bool option_is(const char *argument, const char *name, const char **value) {
    size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
    *value = argument + length + 1;
    return true;
}

static bool set_seconds(const char *text, double *seconds) {
    return read_number(&text, seconds) && *text == '\0' && *seconds <= 1e9;
}

static bool set_bytes(const char *text, unsigned long long *bytes) {
    double value;
    if (!set_seconds(text, &value) && !(read_number(&text, &value) && *text == '\0' && value <= 1e15)) return false;
    *bytes = (unsigned long long)value;
    return *bytes > 0;
}

static bool set_option(struct options *options, const char *argument) {
    const char *value;
    if (option_is(argument, "--control", &value)) return (options->control = value)[0] == '/';
    if (option_is(argument, "--log", &value)) return (options->log = value)[0] == '/';
    if (option_is(argument, "--record", &value)) return (options->record = value)[0] == '/';
    if (option_is(argument, "--grace", &value)) return set_seconds(value, &options->grace_s);
    if (option_is(argument, "--deadline-grace", &value)) return set_seconds(value, &options->deadline_grace_s);
    if (option_is(argument, "--start-wait", &value)) return set_seconds(value, &options->start_wait_s);
    if (option_is(argument, "--log-limit", &value)) return set_bytes(value, &options->log_limit);
    if (option_is(argument, "--visit", &value)) return (options->visit = value)[0] != '\0';
    if (option_is(argument, "--leave", &value)) return (options->leave = value)[0] != '\0';
    if (option_is(argument, "--term", &value)) return (options->term = value) != NULL;
    return false;
}

static bool read_options(struct options *options, char **arguments) {
    while (*arguments != NULL && strcmp(*arguments, "--") != 0) {
        if (!set_option(options, *arguments)) {
            say(*arguments, "no such option, or not a value for it (paths begin with /, numbers are decimal)");
            return false;
        }
        arguments++;
    }
    if (*arguments == NULL && options->leave != NULL) return true;
    if (*arguments == NULL || arguments[1] == NULL) {
        say("no command: shim [--NAME=VALUE ...] -- COMMAND [ARGUMENT ...]", "");
        return false;
    }
    options->command = arguments + 1;
    return true;
}

int main(int count, char **arguments) {
    (void)count;
    struct shim shim = {.options = {.control = "/nordan/control",
                                    .log = "/nordan/log",
                                    .record = "/dev/termination-log",
                                    .grace_s = 10.0,
                                    .deadline_grace_s = 2.0,
                                    .start_wait_s = 120.0,
                                    .log_limit = 256ULL << 20}};
    struct ending ending = {.exit_code = -1, .started_at_s = -1.0};
    double kill_at_s = 1e18;
    if (arguments[0] == NULL || !read_options(&shim.options, arguments + 1)) return EXIT_USAGE;
    if (shim.options.leave != NULL) return leave(shim.options.leave);
    if (shim.options.visit != NULL) return visit(&shim);
    prepare(&shim);
    if (shim.signals < 0) {
        say("cannot watch for signals", strerror(errno));
        return EXIT_USAGE;
    }
    if (await_start(&shim, &ending)) run_command(&shim, &ending, &kill_at_s);
    ending.ended_at_s = now_s();
    write_record(&shim, &ending);
    if (shim.lock >= 0) close(shim.lock);
    if (!ending.was_killed && ending.started_at_s >= 0) await_collected(&shim, kill_at_s);
    _exit(ending.signal > 0 ? EXIT_SIGNAL + ending.signal : ending.exit_code);
}
