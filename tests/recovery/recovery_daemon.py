"""The product's daemon at another pace: a test need not wait for it, and the machine is loaded less."""

from dagster._daemon import controller, sensor

from audio_assets.daemon import main

sensor.MIN_INTERVAL_LOOP_TIME = 2
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
#: Else each minute a new process loads the code.
controller.RELOAD_WORKSPACE_INTERVAL = 3600

if __name__ == "__main__":
    main()
