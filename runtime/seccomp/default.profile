# The default system call filter. Docker's shape; three things are tighter: arguments that the kernel reads as 32 bits
# are compared as 32 bits, terminal injection is refused, and foreign ABIs get ENOSYS. `build.rs` compiles this file.
#
#   allow NAME…             permitted
#   refuse NAME…            EPERM
#   absent NAME…            ENOSYS, so that a libc falls back to the older call
#   answer NAME…            0, without being done
#   grant CAP… : NAME…      permitted with one of these capabilities in the bounding set
#   when NAME ARG OP VALUE [& ARG OP VALUE]… : allow|answer|ERRNO [with CAP…|without CAP…]
#                           the first matching rule decides; OP is == != < <= > >=, or "/ MASK ==" for a masked match.
#                           Rules of one call are disjoint, so that their order never matters to other runtimes
#   word NAME ARG…          the kernel reads these arguments of the call as 32 bits or fewer
#
# A number that no line here names is ENOSYS: it is newer than this file.

allow accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime
allow clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
allow clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
allow epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
allow exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown
allow fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatat fstatfs fsync
allow ftruncate futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
allow get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
allow getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
allow getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1
allow inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
allow ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr
allow link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise
allow map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
allow mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
allow mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
allow name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2
allow pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
allow process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2
allow read readahead readlink readlinkat readv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
allow removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
allow rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
allow sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
allow sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
allow sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 sendfile sendmmsg
allow sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer
allow setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat
allow shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount statx
allow symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
allow timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
allow timerfd_settime timerfd_settime64 times tkill truncate umask uname unlink unlinkat uretprobe utime utimensat
allow utimensat_time64 utimes vfork vmsplice wait4 waitid write writev

refuse _sysctl add_key afs_syscall create_module get_kernel_syms getpmsg io_uring_enter io_uring_register io_uring_setup
refuse kexec_file_load kexec_load keyctl migrate_pages move_pages nfsservctl pivot_root putpmsg query_module request_key
refuse security swapoff swapon sysfs tuxcall uprobe uselib userfaultfd ustat vserver

grant DAC_READ_SEARCH : open_by_handle_at
grant SYS_ADMIN : fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
grant SYS_ADMIN : lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr quotactl quotactl_fd
grant SYS_ADMIN : setdomainname sethostname setns umount2 unshare clone clone3
grant SYS_ADMIN SYSLOG : syslog
grant SYS_ADMIN BPF : bpf
grant SYS_ADMIN PERFMON : perf_event_open
grant SYS_BOOT : reboot
grant SYS_CHROOT : chroot
grant SYS_MODULE : delete_module finit_module init_module
grant SYS_NICE : get_mempolicy mbind set_mempolicy set_mempolicy_home_node
grant SYS_PACCT : acct
grant SYS_PTRACE : kcmp pidfd_getfd process_madvise
grant SYS_RAWIO : ioperm iopl
grant SYS_TIME : clock_settime clock_settime64 settimeofday
grant SYS_TTY_CONFIG : vhangup

# Its flags are behind a pointer, where a filter cannot see them; every libc falls back to clone.
absent clone3

# No new namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. (The bit of NEWTIME is part of clone's
# exit signal.) The kernel uses the low half of the flags.
refuse clone
when clone 0 / 0x7e020000 == 0 : allow

# PER_LINUX and PER_LINUX32, each also with UNAME26, and the query. The kernel reads 32 bits.
refuse personality
when personality 0 == 0xffffffff : allow
when personality 0 == 0x0 : allow
when personality 0 == 0x8 : allow
when personality 0 == 0x20000 : allow
when personality 0 == 0x20008 : allow

# No AF_ALG (38): kernel crypto without a user in containers and with a history. No AF_VSOCK (40): it reaches the
# hypervisor past every network namespace. The audit netlink (16, 9) is "not built in" without its capability, which
# is what login programs take for an answer.
refuse socket
when socket 0 < 16 : allow
when socket 0 == 16 & 2 != 9 : allow
when socket 0 == 16 & 2 == 9 : allow with AUDIT_WRITE
when socket 0 == 16 & 2 == 9 : EINVAL without AUDIT_WRITE
when socket 0 == 17 : allow
when socket 0 / 0xfffffffe == 18 : allow
when socket 0 / 0xfffffffc == 20 : allow
when socket 0 / 0xfffffff8 == 24 : allow
when socket 0 / 0xfffffffc == 32 : allow
when socket 0 / 0xfffffffe == 36 : allow
when socket 0 == 39 : allow
when socket 0 > 40 : allow

# No TIOCSTI (0x5412) and no TIOCLINUX (0x541c): both type on a terminal that the container may share with the host.
refuse ioctl
when ioctl 1 < 0x5412 : allow
when ioctl 1 > 0x541c : allow
when ioctl 1 == 0x5413 : allow
when ioctl 1 / 0xfffffffc == 0x5414 : allow
when ioctl 1 / 0xfffffffc == 0x5418 : allow

word accept4 0 3
word arch_prctl 0
word bpf 0 2
word chmod 1
word chown 1 2
word clock_adjtime 0
word clock_gettime 0
word clock_settime 0
word clone 0
word close 0
word close_range 0 1 2
word creat 1
word dup3 0 1 2
word epoll_create1 0
word epoll_ctl 0 1 2
word eventfd2 0 1
word execveat 0 4
word faccessat2 0 2 3
word fallocate 0 1
word fanotify_init 0 1
word fchmod 0 1
word fchmodat 0 2
word fchmodat2 0 2 3
word fchown 0 1 2
word fchownat 0 2 3 4
word fcntl 0 1
word flock 0 1
word fsmount 0 1 2
word fsopen 1
word getpriority 0 1
word getrandom 2
word getsockopt 0 1 2
word inotify_init1 0
word io_uring_setup 0
word ioctl 0 1
word ioperm 2
word iopl 0
word kcmp 0 1 2
word keyctl 0
word kill 0 1
word lchown 1 2
word linkat 0 2 4
word listen 0 1
word madvise 2
word membarrier 0 1 2
word memfd_create 1
word mkdir 1
word mkdirat 0 2
word mknod 1 2
word mknodat 0 2 3
word mlock2 2
word modify_ldt 0
word mount_setattr 0 2
word move_mount 0 2 4
word msgget 0 1
word name_to_handle_at 0 4
word open 1 2
word openat 0 2 3
word open_by_handle_at 0 2
word open_tree 0 2
word perf_event_open 1 2 3
word personality 0
word pidfd_getfd 0 1 2
word pidfd_open 0 1
word pidfd_send_signal 0 1 3
word pipe2 1
word prctl 0
word prlimit64 0 1
word process_madvise 0 3 4
word quotactl 0 2
word quotactl_fd 0 1 2
word reboot 0 1 2
word recvfrom 0 3
word renameat2 0 2 4
word sched_setattr 0 2
word sched_setscheduler 0 1
word seccomp 0 1
word semget 0 1 2
word sendmsg 0 2
word sendto 0 3 5
word setfsgid 0
word setfsuid 0
word setgid 0
word setgroups 0
word setns 0 1
word setpriority 0 1 2
word setregid 0 1
word setresgid 0 1 2
word setresuid 0 1 2
word setreuid 0 1
word setrlimit 0
word setsockopt 0 1 2 4
word setuid 0
word shmget 0 2
word signalfd4 0 3
word socket 0 1 2
word socketpair 0 1 2
word splice 0 2 5
word statx 0 2 3
word symlinkat 1
word sync_file_range 0 3
word syslog 0 2
word tee 0 1 3
word tgkill 0 1 2
word timerfd_create 0 1
word timerfd_settime 0 1
word tkill 0 1
word umask 0
word umount2 1
word unlinkat 0 2
word userfaultfd 0
word vmsplice 0 3
