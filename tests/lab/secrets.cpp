#include "tests/lab/secrets.hpp"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>

namespace lbcluster::lab {

namespace {

namespace fs = std::filesystem;

std::string hex_of(const std::string& bytes, const char* digits) {
    std::string text;
    for (const unsigned char byte : bytes) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

std::string base64_of(const std::string& bytes) {
    std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int length =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(length));
    return text;
}

// The digits that depend on `bytes` alone when these begin `shift` bytes after a group of three.
std::string base64_inside(const std::string& bytes, std::size_t shift) {
    const std::string text = base64_of(std::string(shift, '\0') + bytes);
    const std::size_t begin = shift == 0 ? 0 : shift + 1;
    const std::size_t end = (shift + bytes.size()) * 8 / 6;
    return text.substr(begin, end - begin);
}

bool is_process(const fs::path& path) {
    const std::string name = path.filename();
    return std::all_of(name.begin(), name.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> clusters_of(const Pair& pair, const std::string& node) {
    std::vector<std::string> paths{pair.config_dir(node) + "/cluster.yaml"};
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(pair.state_dir(node) + "/revisions", none))
        if (entry.is_directory()) paths.push_back(entry.path().string() + "/cluster.yaml");
    return paths;
}

}  // namespace

void Secrets::add_form(const std::string& name, const std::string& form) {
    if (form.size() >= bytes_min) forms_.emplace(form, name);
}

void Secrets::add(const std::string& name, const std::string& value) {
    if (value.size() < bytes_min) return;
    add_form(name, value);
    add_form(name + " in hex", hex_of(value, "0123456789abcdef"));
    add_form(name + " in hex", hex_of(value, "0123456789ABCDEF"));
    for (const std::size_t shift : {0U, 1U, 2U}) add_form(name + " in base64", base64_inside(value, shift));
}

void Secrets::add_hex(const std::string& name, const std::string& hex) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    add(name, bytes);
}

void Secrets::add_private_keys(const std::string& name, const std::string& text) {
    std::istringstream lines(text);
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.find("PRIVATE KEY-----") != std::string::npos) inside = line.find("BEGIN") != std::string::npos;
        else if (inside && line.size() >= 16) add_form(name, line);
    }
}

void Secrets::add_node(const Pair& pair, const std::string& node) {
    const std::string keys = pair.state_dir(node) + "/keys";
    static const std::regex key_line("(^|\n)key: *([0-9a-fA-F]{32,})");
    for (const char* file : {"/heartbeat.key", "/heartbeat.key.pairing"}) {
        const std::string text = read_file(keys + file);
        for (std::sregex_iterator key(text.begin(), text.end(), key_line); key != std::sregex_iterator(); ++key)
            add_hex("a heartbeat key", (*key)[2]);
    }
    add_private_keys("the private key of " + node, read_file(keys + "/replica"));
    static const std::regex password("(password|secret): *(\"([^\"]*)\"|'([^']*)'|([^,}\\s]+))");
    for (const std::string& path : clusters_of(pair, node)) {
        const std::string text = read_file(path);
        for (std::sregex_iterator one(text.begin(), text.end(), password); one != std::sregex_iterator(); ++one)
            add("a configured " + (*one)[1].str(), (*one)[3].str() + (*one)[4].str() + (*one)[5].str());
    }
    std::error_code none;
    for (const auto& entry : fs::recursive_directory_iterator(pair.config_dir(node) + "/files", none))
        if (entry.is_regular_file()) add_private_keys("a certificate's private key", read_file(entry.path()));
}

std::set<std::string> Secrets::found_in(std::string_view text) const {
    std::set<std::string> found;
    for (const auto& [form, name] : forms_)
        if (text.find(form) != std::string_view::npos) found.insert(name);
    return found;
}

std::set<std::string> Secrets::exposed_below(const std::string& folder) const {
    std::set<std::string> exposed;
    std::error_code none;
    for (const auto& entry : fs::recursive_directory_iterator(folder, none)) {
        struct stat info{};
        if (::lstat(entry.path().c_str(), &info) != 0) continue;
        const unsigned mode = info.st_mode & 0777U;
        const auto note = [&](const std::string& why) {
            std::ostringstream line;
            line << entry.path().string() << ", mode " << std::oct << mode << ": " << why;
            exposed.insert(line.str());
        };
        if (S_ISDIR(info.st_mode) && entry.path().filename() == "keys" && mode != 0700) note("a folder of keys");
        if (!S_ISREG(info.st_mode) || mode == 0600) continue;
        // A configuration may be read by its group, and so may the certificates in it.
        const bool configuration = mode == 0640;
        for (const std::string& name : found_in(read_file(entry.path())))
            if (!configuration || !(name.starts_with("a configured ") || name.starts_with("a certificate"))) note(name);
    }
    return exposed;
}

bool Secrets::knows(const std::string& name_part) const {
    return std::any_of(forms_.begin(), forms_.end(),
                       [&](const auto& form) { return form.second.find(name_part) != std::string::npos; });
}

ProcessWatch::ProcessWatch(const Secrets& secrets) : secrets_(secrets), thread_([this] { look(); }) {}

ProcessWatch::~ProcessWatch() { end(); }

std::set<std::string> ProcessWatch::end() {
    ending_ = true;
    if (thread_.joinable()) thread_.join();
    return found_;
}

void ProcessWatch::look() {
    while (!ending_) {
        std::error_code gone;
        for (const auto& entry : fs::directory_iterator("/proc", gone)) {
            if (!is_process(entry.path())) continue;
            const std::string name = read_file(entry.path().string() + "/comm");
            for (const char* what : {"/cmdline", "/environ"}) {
                for (const std::string& secret : secrets_.found_in(read_file(entry.path().string() + what)))
                    found_.insert(secret + " in" + what + " of " + name);
            }
            programs_.insert(name.substr(0, name.find('\n')));
        }
        ++rounds_;
        std::this_thread::sleep_for(1ms);
    }
}

}  // namespace lbcluster::lab
