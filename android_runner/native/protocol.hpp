// The runner's side of docs/protocol.md: key=value arguments in, framed JSON lines out.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace netadapt {

inline constexpr int kProtocolVersion = 3;

// Text of a JSON object, built field by field.
class JsonObject {
 public:
  explicit JsonObject(std::string_view type) { add("type", type); }

  JsonObject& add(std::string_view key, std::string_view text);
  JsonObject& add(std::string_view key, const char* text) {
    return add(key, std::string_view(text));
  }
  JsonObject& add(std::string_view key, std::int64_t number) {
    return raw(key, std::to_string(number));
  }
  JsonObject& raw(std::string_view key, std::string_view json);

  std::string text() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

std::string json_number(double value);
std::string json_text(std::string_view text);

template <typename Range, typename Format>
std::string json_array(const Range& range, Format format) {
  std::string text = "[";
  for (const auto& item : range) {
    if (text.size() > 1) text += ',';
    text += format(item);
  }
  return text + "]";
}

// Writes one frame to standard output, at once, so that no other line lands inside it.
void send(const JsonObject& message);

// A run that cannot start or go on, whatever the program.
struct FatalError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The command line: every argument is key=value, every key is used, none is given twice.
class Arguments {
 public:
  Arguments(int argc, char** argv);

  std::string take(const std::string& key, const std::string& fallback);

  template <typename Number>
  Number take_number(const std::string& key, Number fallback) {
    const std::string text = take(key, "");
    if (text.empty()) return fallback;
    return parse<Number>(key, text);
  }

  std::vector<int> take_cpus(const std::string& key);
  void finish() const;  // throws if an argument is left over

 private:
  template <typename Number>
  static Number parse(const std::string& key, std::string_view text) {
    Number number{};
    bool whole = false;
    if constexpr (std::is_floating_point_v<Number>) {
      // The NDK's library had no from_chars for these up to LLVM 19.
      const std::string terminated(text);
      char* end = nullptr;
      number = static_cast<Number>(std::strtod(terminated.c_str(), &end));
      whole = !text.empty() && end == terminated.c_str() + terminated.size() &&
              std::isfinite(number);
    } else {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      whole = error == std::errc() && end == text.data() + text.size();
    }
    if (!whole) {
      throw FatalError("argument " + key + " must be a number, got " + std::string(text));
    }
    return number;
  }

  std::map<std::string, std::string> values_;
};

}  // namespace netadapt
