{{- define "firmwatt.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "firmwatt.selector" -}}
app.kubernetes.io/name: firmwatt
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: pipeline
{{- end -}}

{{- define "firmwatt.labels" -}}
{{ include "firmwatt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* What every object is called, or begins with. */ -}}
{{- define "firmwatt.own" -}}
{{- include "firmwatt.name" (dict "root" . "part" "pipeline") -}}
{{- end -}}

{{- define "firmwatt.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
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

{{- /* What cannot work is refused here, where a schema does not reach. */ -}}
{{- define "firmwatt.check" -}}
{{- $partitions := .Values.kafka.telemetry_partitions | int -}}
{{- if gt (.Values.replicas | int) $partitions -}}
{{- fail (printf "replicas: %d workers for %d telemetry partitions; more than partitions have nothing to do" (.Values.replicas | int) $partitions) -}}
{{- end -}}
{{- if and (gt (.Values.replicas | int) 1) (not .Values.archive.s3.url) (not .Values.archive.volume.existingClaim) (not (has "ReadWriteMany" .Values.archive.volume.accessModes)) -}}
{{- fail "archive.volume.accessModes: several workers write one archive: ReadWriteMany, or archive.s3.url" -}}
{{- end -}}
{{- if and (hasPrefix "sasl_" .Values.kafka.security) (not .Values.kafkaSecrets.user) -}}
{{- fail "kafkaSecrets.user: kafka.security asks for a password: name the Secret that has it" -}}
{{- end -}}
{{- end -}}

{{- define "firmwatt.kafka" -}}
{{- $table := deepCopy .Values.kafka -}}
{{- $tls := hasSuffix "ssl" .Values.kafka.security -}}
{{- if and $tls .Values.kafkaSecrets.ca -}}{{- $_ := set $table "ca_file" "/run/firmwatt/secrets/ca/ca.crt" -}}{{- end -}}
{{- if hasPrefix "sasl_" .Values.kafka.security -}}
{{- $_ := set $table "password_file" "/run/firmwatt/secrets/user/password" -}}
{{- else if and $tls .Values.kafkaSecrets.user -}}
{{- $_ := set $table "certificate_file" "/run/firmwatt/secrets/user/user.crt" -}}
{{- $_ := set $table "key_file" "/run/firmwatt/secrets/user/user.key" -}}
{{- end -}}
{{- include "firmwatt.lines" $table -}}
{{- end -}}

{{- define "firmwatt.settings" -}}
{{- $state := "/var/lib/firmwatt-pipeline" -}}
{{- $own := dict "archive" (.Values.archive.s3.url | default "/archive/files") "data" (printf "%s/scratch" $state)
      "desk" (ternary (printf "%s/desk.duckdb" $state) "/archive/desk.duckdb" (ne .Values.archive.s3.url "")) "listen" (printf "0.0.0.0:%v" .Values.port) -}}
# Written by the chart {{ .Chart.Name }} {{ .Chart.Version }}.

[kafka]
{{- include "firmwatt.kafka" . }}

[site]
{{- include "firmwatt.lines" .Values.site }}

[pipeline]
{{- include "firmwatt.lines" (merge (deepCopy $own) .Values.settings) }}
{{- end -}}

{{- define "firmwatt.noRights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "firmwatt.spread" -}}
podAntiAffinity:
  {{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "firmwatt.selector" . | fromYaml)) }}
  {{- if eq .Values.spread "hard" }}
  requiredDuringSchedulingIgnoredDuringExecution: {{- toYaml (list $term) | nindent 4 }}
  {{- else }}
  preferredDuringSchedulingIgnoredDuringExecution: {{- toYaml (list (dict "weight" 100 "podAffinityTerm" $term)) | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "firmwatt.where" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
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
{{- if .Values.affinity }}
affinity: {{- toYaml .Values.affinity | nindent 2 }}
{{- else if ne .Values.spread "none" }}
affinity: {{- include "firmwatt.spread" . | nindent 2 }}
{{- end }}
{{- end -}}
