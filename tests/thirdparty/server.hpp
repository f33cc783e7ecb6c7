// A server of Debian for one test, with a configuration of its own in a temporary folder, never as a service. The test
// process has network, process and mount namespaces of its own (tests/lab/process.hpp), so ports are free, and nothing
// outlives it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "healthd/probes/factory.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::thirdparty {

// Made anew for each test, removed after it. Everybody may enter it: servers have users of their own.
class Folder {
  public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + '/' + name; }
    [[nodiscard]] const std::string& path() const { return path_; }
    std::string write(const std::string& name, const std::string& text) const;  // returns the path
    std::string make(const std::string& name, const std::string& owner = "root") const;

  private:
    std::string path_;
};

// The program runs until the test ends; what it says is in its log file.
class Program {
  public:
    Program(const Folder& folder, std::vector<std::string> argv);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    [[nodiscard]] bool runs();
    [[nodiscard]] std::string log() const;

  private:
    pid_t pid_ = -1;
    std::string log_path_;
};

class ThirdParty : public ::testing::Test {
  protected:
    void SetUp() override;
    // True, and the test is skipped with a clear message, if it is not installed.
    static bool lacks(const std::string& program, const std::string& package);
    // A certificate for "localhost": folder_/cert.pem and folder_/key.pem.
    void make_certificate(const std::string& owner = "root");
    void start(std::vector<std::string> argv) {
        programs_.push_back(std::make_unique<Program>(folder_, std::move(argv)));
    }

    // One probe: "up: reason". `check`: protobuf text without CHECK_PROTOCOL_.
    std::string ask(const std::string& check, std::uint16_t port);
    // Asks until it is as wanted ("up: SMTP: 220*"; a star is any text), as servers take their time to start.
    void expect(const std::string& check, std::uint16_t port, const std::string& wanted);

    Folder folder_;
    std::vector<std::unique_ptr<Program>> programs_;
    std::string certificate_;
    std::string key_;

  private:
    boost::asio::io_context io_{1};
    health::ProbeFactory factory_{io_};
};

}  // namespace lbcluster::thirdparty
