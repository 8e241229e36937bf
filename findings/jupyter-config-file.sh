#!/usr/bin/env bash
# jupyterlab 4.6.6, jupyter_server 2.21.1, jupyter_core 5.9.1
#
# What: a Jupyter that is started with --config=FILE still reads jupyter_config.py and jupyter_lab_config.py
#   from the settings folders, and no longer reads jupyter_server_config.py, which lies beside them. FILE takes
#   the place of one of the three. `jupyter server` does so as `jupyter lab` does: what its own settings
#   file says is gone, what the one of JupyterLab says stays.
# Why it matters: jupyter_server_config.py is where passwords, roots, limits and culling are set. Adding one
#   setting with a small FILE takes all of them away, without a message.
# Expected: FILE is read in addition to all of them, or instead of all of them.
# Seen:
#   jupyter lab: jupyter_config, jupyter_lab_config, jupyter_server_config
#   jupyter lab --config=FILE: jupyter_config, jupyter_lab_config, FILE
#   jupyter server: jupyter_config, jupyter_lab_config, jupyter_server_config
#   jupyter server --config=FILE: jupyter_config, jupyter_lab_config, FILE
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq jupyterlab==4.6.6 jupyter_server==2.21.1 jupyter_core==5.9.1
mkdir settings
echo 'c.ServerApp.max_body_size = 11' >settings/jupyter_config.py
echo 'c.ServerApp.max_buffer_size = 22' >settings/jupyter_lab_config.py
echo 'c.ServerApp.min_open_files_limit = 33' >settings/jupyter_server_config.py
echo 'c.ServerApp.port_retries = 44' >FILE.py
was_read() { # whose settings a Jupyter started so has; none is started
  local shown
  shown=$(env -i PATH="$work/venv/bin:$PATH" HOME="$work" JUPYTER_CONFIG_DIR="$work/settings" \
    jupyter "$@" --show-config-json 2>errors)
  local said=()
  [[ $shown != *'"max_body_size": 11'* ]] || said+=(jupyter_config)
  [[ $shown != *'"max_buffer_size": 22'* ]] || said+=(jupyter_lab_config)
  [[ $shown != *'"min_open_files_limit": 33'* ]] || said+=(jupyter_server_config)
  [[ $shown != *'"port_retries": 44'* ]] || said+=(FILE)
  (IFS=,; echo "${said[*]}")
}
held=0
for application in lab server; do
  plain=$(was_read "$application") with=$(was_read "$application" --config="$work/FILE.py")
  echo "jupyter $application: ${plain//,/, }"
  echo "jupyter $application --config=FILE: ${with//,/, }"
  [[ $plain == jupyter_config,jupyter_lab_config,jupyter_server_config ]] || held=1
  [[ $with == jupyter_config,jupyter_lab_config,FILE ]] || held=1
done
exit "$held"
