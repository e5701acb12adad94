{{- define "firmwatt.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "firmwatt.selector" -}}
app.kubernetes.io/name: firmwatt
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "firmwatt.labels" -}}
{{ include "firmwatt.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "firmwatt.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether a process asks the kubelet whose GPUs are whose: its settings. */ -}}
{{- define "firmwatt.asksKubelet" -}}
{{- if has "kubernetes" (.mappings | default list) -}}yes{{- end -}}
{{- end -}}

{{- /* A value in TOML: JSON's strings, numbers, truth values and lists are TOML's; tables are not. */ -}}
{{- define "firmwatt.toml" -}}
{{- $value := . -}}
{{- if kindIs "map" $value -}}
{ {{ range $at, $key := keys $value | sortAlpha }}{{ if $at }}, {{ end }}{{ toJson $key }} = {{ include "firmwatt.toml" (get $value $key) }}{{ end }} }
{{- else if kindIs "slice" $value -}}
[{{ range $at, $one := $value }}{{ if $at }}, {{ end }}{{ include "firmwatt.toml" $one }}{{ end }}]
{{- else -}}
{{ toJson $value }}
{{- end -}}
{{- end -}}

{{- /* The lines of a table. */ -}}
{{- define "firmwatt.lines" -}}
{{- $table := . -}}
{{- range $key := keys $table | sortAlpha }}
{{ $key }} = {{ include "firmwatt.toml" (get $table $key) }}
{{- end -}}
{{- end -}}

{{- /*
The settings file of one process: its .table with .settings, and .own, what the chart itself sets there; .tables of its
plug-ins beside the mappings'.
*/ -}}
{{- define "firmwatt.settings" -}}
{{- $values := .root.Values -}}
{{- $mappings := deepCopy $values.mappings -}}
{{- if $values.claims -}}
{{- $_ := set $mappings "static" (merge (dict "file" "/etc/firmwatt/gpus.toml") (get $mappings "static" | default dict)) -}}
{{- end -}}
{{- $asked := dict "api" "https://kubernetes.default.svc" "token_file" "/run/firmwatt/kubernetes/token"
      "ca_file" "/run/firmwatt/kubernetes/ca.crt" "node" "@NODE_NAME@" -}}
{{- if include "firmwatt.asksKubelet" .settings -}}
{{- $_ := set $mappings "kubernetes" (merge (get $mappings "kubernetes" | default dict) $asked) -}}
{{- end -}}
# Written by the chart {{ .root.Chart.Name }} {{ .root.Chart.Version }}.

[kafka]
{{- include "firmwatt.lines" (merge (deepCopy ((index $values .table).kafka | default dict)) $values.kafka) }}

[site]
{{- include "firmwatt.lines" $values.site }}

[{{ .table }}]
{{- include "firmwatt.lines" (merge (deepCopy .own) .settings) }}
{{ range $family, $tables := merge (dict "mapping" $mappings) .tables }}
{{- range $name := keys $tables | sortAlpha }}
[{{ $family }}.{{ $name }}]
{{- include "firmwatt.lines" (get $tables $name) }}
{{ end }}
{{- end }}
{{- if eq .table "collector" }}
{{- range $values.engines }}
[[engine]]
{{- include "firmwatt.lines" . }}
{{ end }}
{{- end }}
{{- end -}}

{{- define "firmwatt.collectorSettings" -}}
{{- $own := dict "spool" "/var/lib/firmwatt" "listen" (printf "0.0.0.0:%v" .Values.collector.port) -}}
{{- if .Values.collector.tokens.path -}}{{- $_ := set $own "tokens" "/run/firmwatt/tokens" -}}{{- end -}}
{{- if .Values.actuator.enabled -}}{{- $_ := set $own "actuator_metrics" "/run/firmwatt-actuate/actuate.prom" -}}{{- end -}}
{{- include "firmwatt.settings" (dict "root" . "table" "collector" "settings" .Values.collector.settings "own" $own
      "tables" (dict "source" .Values.sources)) -}}
{{- end -}}

{{- define "firmwatt.actuatorSettings" -}}
{{- $own := dict "keyring" (printf "/run/firmwatt/keyring/%s" .Values.actuator.keyring.key) "journal" "/var/lib/firmwatt-actuate/journal.json"
      "metrics" "/run/firmwatt-actuate/actuate.prom" -}}
{{- include "firmwatt.settings" (dict "root" . "table" "actuator" "settings" .Values.actuator.settings "own" $own
      "tables" (dict "lever" .Values.levers)) -}}
{{- end -}}

{{- define "firmwatt.where" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "firmwatt.nodeNames" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: HOST_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- end -}}

{{- /* All GPUs, without allocating one: only what NVML needs of the driver. */ -}}
{{- define "firmwatt.gpus" -}}
- name: NVIDIA_VISIBLE_DEVICES
  value: all
- name: NVIDIA_DRIVER_CAPABILITIES
  value: utility
{{- end -}}

{{- define "firmwatt.noRights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /*
Before either process starts: settings with the node's names in them, and secrets as files of mode 0600 that belong to
the process. The kubelet mounts Secrets readable by a group, which firmwatt refuses.
*/ -}}
{{- define "firmwatt.prepare" -}}
- name: prepare
  image: {{ include "firmwatt.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command:
    - sh
    - -euc
    - |
      umask 0077
      for file in /config/*.toml; do
        sed "s/@NODE_NAME@/$NODE_NAME/g; s/@HOST_IP@/$HOST_IP/g" "$file" >"/etc/firmwatt/${file##*/}"
      done
      for file in /secrets/*/*; do
        [ -f "$file" ] || continue
        folder=${file%/*}
        mkdir -p "/run/firmwatt/secrets/${folder##*/}"
        cat "$file" >"/run/firmwatt/secrets/${folder##*/}/${file##*/}"
      done
  env: {{- include "firmwatt.nodeNames" . | nindent 4 }}
  securityContext: {{- include "firmwatt.noRights" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /config, readOnly: true}
    - {name: settings, mountPath: /etc/firmwatt}
    - {name: secrets, mountPath: /run/firmwatt/secrets}
    {{- range .values.secrets }}
    - {name: {{ printf "secret-%s" . }}, mountPath: {{ printf "/secrets/%s" . }}, readOnly: true}
    {{- end }}
{{- end -}}

{{- define "firmwatt.mounts" -}}
- {name: settings, mountPath: /etc/firmwatt, readOnly: true}
- {name: secrets, mountPath: /run/firmwatt/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if include "firmwatt.asksKubelet" .values.settings }}
- {name: kubelet, mountPath: /var/lib/kubelet/pod-resources, readOnly: true}
- {name: kubernetes, mountPath: /run/firmwatt/kubernetes, readOnly: true}
{{- end }}
{{- end -}}

{{- define "firmwatt.volumes" -}}
- name: settings
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
- name: secrets
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- range .values.secrets }}
- name: {{ printf "secret-%s" . }}
  secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- if include "firmwatt.asksKubelet" .values.settings }}
- name: kubelet
  hostPath: {path: /var/lib/kubelet/pod-resources, type: Directory}
- name: kubernetes
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}
