//! Filters of system calls, as sandboxes have them: a program for the kernel that lets calls pass or answers for them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` has the call's number, the architecture, and the first argument. Arguments have 64 bits,
/// of which the lower ones come first on both architectures, and are all that is looked at.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP_ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// What an argument must be for a rule to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// This value.
    Is(u32),
    /// A smaller value.
    Below(u32),
    /// None of these bits is set.
    HasNone(u32),
}

/// What happens to one call.
#[derive(Clone, Debug)]
pub struct Rule {
    call: u32,
    /// The number of an argument, and what it must be.
    test: Option<(u32, Test)>,
    action: u32,
}

impl Rule {
    /// The call passes.
    #[must_use]
    pub fn allow(call: libc::c_long) -> Self {
        Self::new(call, libc::SECCOMP_RET_ALLOW)
    }

    /// The call fails with `errno`, and does nothing.
    #[must_use]
    pub fn refuse(call: libc::c_long, errno: i32) -> Self {
        Self::new(call, failure(errno))
    }

    fn new(call: libc::c_long, action: u32) -> Self {
        Self {
            call: u32::try_from(call).expect("the number of a call"),
            test: None,
            action,
        }
    }

    /// The rule holds only for calls whose argument of that number, from 0, is so.
    #[must_use]
    pub const fn when(mut self, argument: u32, test: Test) -> Self {
        self.test = Some((argument, test));
        self
    }

    /// Ends the program if the rule holds; else what follows finds the call's number loaded.
    fn compile(&self, out: &mut Vec<libc::sock_filter>) {
        let Some((argument, test)) = self.test else {
            out.push(jump(JUMP_EQUAL, self.call, 0, 1));
            out.push(statement(RETURN, self.action));
            return;
        };
        out.push(jump(JUMP_EQUAL, self.call, 0, 4));
        out.push(statement(LOAD, ARGUMENTS + 8 * argument));
        out.push(match test {
            Test::Is(value) => jump(JUMP_EQUAL, value, 0, 1),
            Test::Below(value) => jump(JUMP_AT_LEAST, value, 1, 0),
            Test::HasNone(bits) => jump(JUMP_ANY_BIT, bits, 1, 0),
        });
        out.push(statement(RETURN, self.action));
        out.push(statement(LOAD, NUMBER));
    }
}

/// The rules of a sandbox, the first that holds decides.
#[derive(Clone, Debug)]
pub struct Filter {
    rules: Vec<Rule>,
    otherwise: u32,
}

impl Filter {
    /// Lets pass what no rule is about.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            otherwise: libc::SECCOMP_RET_ALLOW,
        }
    }

    /// Docker's default profile, for a container without capabilities of note.
    #[must_use]
    pub fn docker() -> Self {
        super::docker::filter()
    }

    /// Lets fail what no rule is about.
    #[must_use]
    pub(crate) fn refusing_all_else(mut self, errno: i32) -> Self {
        self.otherwise = failure(errno);
        self
    }

    /// Whether this process may put its children under filters.
    #[must_use]
    pub fn can_be_used() -> bool {
        let mut command = Command::new("true");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = Self::new([]).put_on(&mut command).status();
        status.is_ok_and(|status| status.success())
    }

    /// The program that this command runs is under the filter from its first instruction on, and so is what it starts.
    pub fn put_on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let mut program = self.compile();
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe, and no memory is taken: the
        // program is there already.
        unsafe { command.pre_exec(move || install(&mut program)) }
    }

    fn compile(&self) -> Vec<libc::sock_filter> {
        let mut program = vec![
            statement(LOAD, ARCH),
            jump(JUMP_EQUAL, ARCHITECTURE, 1, 0),
            statement(RETURN, self.otherwise),
            statement(LOAD, NUMBER),
        ];
        for rule in &self.rules {
            rule.compile(&mut program);
        }
        program.push(statement(RETURN, self.otherwise));
        program
    }
}

/// Puts the calling process under a filter for good.
fn install(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: this option takes no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: `program` points to as many instructions as it says, all of which live during the call; the kernel takes a
    // copy.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn failure(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & libc::SECCOMP_RET_DATA)
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    jump(code, value, 0, 0)
}

fn jump(code: u32, value: u32, holds: u8, fails: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt: holds,
        jf: fails,
        k: value,
    }
}
