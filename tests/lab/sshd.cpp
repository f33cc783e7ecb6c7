#include "tests/lab/sshd.hpp"

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

namespace lbcluster::lab {

namespace {

constexpr const char* uid = "64550";
constexpr const char* accounts = "/run/lab-accounts";

void mount_with(const std::string& file, const std::string& line, unsigned mode) {
    const std::string own = std::string(accounts) + "/" + file;
    const std::string real = "/etc/" + file;
    write_file(own, read_file(real) + line + "\n", mode);
    if (::mount(own.c_str(), real.c_str(), "none", MS_BIND, nullptr) != 0) fail_errno("mount " + real);
}

// Once in a test's process: the servers share the machine's accounts.
void make_account(const std::string& shell) {
    if (!std::filesystem::create_directory(accounts)) return;
    std::string hash = must_run(nullptr, {"openssl", "passwd", "-6", Sshd::password});
    hash.erase(hash.find_last_not_of('\n') + 1);
    const std::string name = Sshd::account;
    mount_with("passwd", name + ":x:" + uid + ":" + uid + "::/run:" + shell, 0644);
    mount_with("group", name + ":x:" + uid + ":", 0644);
    mount_with("shadow", name + ":" + hash + ":20000:0:99999:7:::", 0640);
    std::filesystem::create_directories("/run/sshd");
}

// Its children, one for each connection, by the kernel's list.
std::vector<pid_t> children_of(pid_t pid) {
    std::istringstream list(read_file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
    std::vector<pid_t> found;
    for (pid_t child = 0; list >> child;) found.push_back(child);
    return found;
}

// From above: the server would tell the other side of the command's end before it is killed itself.
void end_tree(pid_t pid) {
    const std::vector<pid_t> children = children_of(pid);
    ::kill(pid, SIGKILL);
    for (const pid_t child : children) end_tree(child);
}

}  // namespace

const std::string Sshd::password = "the account's word";

Sshd::Sshd(const Namespace& where, const SshdSpec& spec) : where_(where), spec_(spec) {
    std::filesystem::create_directories(spec_.folder);
    const std::string shell = "/run/lbcluster-peer";
    if (!std::filesystem::exists(shell)) std::filesystem::create_symlink(cli_path(), shell);
    make_account(spec_.login_shell.empty() ? shell : spec_.login_shell);
    must_run(nullptr, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", spec_.folder + "/host_key"});
    // The home of the account, as the package makes it.
    const std::string home = spec_.state_dir + "-peer";
    std::filesystem::create_directories(home + "/.ssh");
    std::filesystem::create_directories(home + "/incoming");
    if (::chown((home + "/incoming").c_str(), 64550, 64550) != 0) fail_errno("chown " + home + "/incoming");
    ::chmod((home + "/incoming").c_str(), 0700);
    for (std::string above = spec_.run_dir; above.size() > 1; above = std::filesystem::path(above).parent_path())
        if (std::filesystem::exists(above)) ::chmod(above.c_str(), 0755);
    write_file(spec_.folder + "/sshd_config",
               spec_.more + "Port 22\nHostKey " + spec_.folder +
                   "/host_key\nPidFile none\nUsePAM no\nStrictModes no\n" +
                   "PasswordAuthentication yes\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\nMaxStartups 100\n" +
                   "AuthorizedKeysFile " + authorized_keys_path() + "\nSubsystem sftp /usr/lib/openssh/sftp-server\n" +
                   "SetEnv LBCLUSTER_RUN_DIR=" + spec_.run_dir + " LBCLUSTER_STATE_DIR=" + spec_.state_dir +
                   " LBCLUSTER_CONFIG_DIR=" + spec_.config_dir +
                   "\nInclude " LAB_SOURCE_DIR "/packaging/ssh/lbcluster.conf\n");
    daemon_ = std::make_unique<Daemon>(
        where_, std::vector<std::string>{"/usr/sbin/sshd", "-D", "-e", "-f", spec_.folder + "/sshd_config"},
        spec_.folder + "/sshd.log");
}

void Sshd::start() {
    daemon_->start();
    const auto listens = [&] {
        return run(&where_, {"ss", "-Hltn", "sport = :22"}).out.find(":22") != std::string::npos;
    };
    if (!wait_until(listens, 10s, 20ms)) fail("sshd does not listen: " + log());
}

void Sshd::stop() { daemon_->stop(); }

void Sshd::cut() {
    const pid_t pid = daemon_->pid();
    if (pid > 0)
        for (const pid_t child : children_of(pid)) end_tree(child);
}

void Sshd::new_host_key() {
    stop();
    std::filesystem::remove(spec_.folder + "/host_key");
    std::filesystem::remove(spec_.folder + "/host_key.pub");
    must_run(nullptr, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", spec_.folder + "/host_key"});
    start();
}

std::string Sshd::fingerprint() const {
    std::istringstream words(must_run(nullptr, {"ssh-keygen", "-l", "-f", spec_.folder + "/host_key.pub"}));
    std::string bits;
    std::string print;
    words >> bits >> print;
    return print;
}

std::string Sshd::host_key() const { return read_file(spec_.folder + "/host_key.pub"); }

SshdSpec sshd_spec(const Pair& pair, const std::string& node, const std::string& login_shell) {
    SshdSpec spec;
    spec.folder = pair.config_dir(node) + "/ssh";
    spec.run_dir = pair.run_dir(node);
    spec.state_dir = pair.state_dir(node);
    spec.config_dir = pair.config_dir(node);
    spec.login_shell = login_shell;
    return spec;
}

void introduce(const Pair& pair, const std::string& node, const Sshd& peer) {
    const auto address = [](const std::string& one) { return one == "lb1" ? "10.77.0.11" : "10.77.0.12"; };
    const std::string name = Pair::peer_of(node);
    const std::string key = pair.state_dir(node) + "/keys/replica";
    must_run(nullptr, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node, "-f", key});
    write_file(peer.authorized_keys_path(), "restrict,command=\"" + cli_path() + " replica\",from=\"" + address(node) +
                                                "\" " + read_file(key + ".pub"));
    std::istringstream words(peer.host_key());
    std::string type;
    std::string base64;
    words >> type >> base64;
    write_file(pair.state_dir(node) + "/peer.yaml",
               "node: " + name + "\naddress: " + address(name) + "\nhost_key_type: " + type + "\nhost_key: " + base64 +
                   "\ncluster_id: 00112233445566778899aabbccddeeff\n" + "local_address: " + address(node) + "\n");
}

}  // namespace lbcluster::lab
